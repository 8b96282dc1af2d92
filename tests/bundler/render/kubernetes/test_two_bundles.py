"""Two bundles in one namespace share no name, and no object of one selects a pod of the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bundler.render import kubernetes
from tests.bundler.render.conftest import make_context
from tests.bundler.render.kubernetes.cluster import ALONE, TOGETHER, Object, kustomize, overlay

SETS = ((), *ALONE, *TOGETHER)
SELECTORS = ("selector", "podSelector", "labelSelector")


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp(name) for name in ("one", "two")}
    for name, folder in folders.items():
        kubernetes.render(make_context(name=name), folder)
    return {name: folder / "k8s" for name, folder in folders.items()}


def selectors_of(value: Any) -> Iterator[dict[str, str]]:
    """Yield the labels of each selector of pods in an object; rules of a NetworkPolicy name clients, not own pods."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in SELECTORS and isinstance(item, dict):
                yield item.get("matchLabels", item)
            elif key != "from":
                yield from selectors_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from selectors_of(item)


def pods_of(objects: list[Object]) -> list[dict[str, str]]:
    """Return the labels of the pods of each Deployment."""
    return [o["spec"]["template"]["metadata"]["labels"] for o in objects if o["kind"] in ("Deployment", "Job")]


@pytest.mark.sample(4)
@pytest.mark.parametrize("chosen", SETS, ids=lambda names: "+".join(names)[:60] or "base")
def test_two_bundles_keep_apart(chosen: tuple[str, ...], trees: dict[str, Path]) -> None:
    """The overlays are a user's own, which set no labels."""
    rendered = {name: kustomize(overlay(tree, chosen, name=f"own-{len(chosen)}-{chosen[:1]}")) for name, tree in trees.items()}
    names = [{(o["kind"], o["metadata"]["name"]) for o in objects} for objects in rendered.values()]
    assert not names[0] & names[1]
    for objects, others in (("one", "two"), ("two", "one")):
        found = [labels for o in rendered[objects] for labels in selectors_of(o.get("spec", {}))]
        assert found
        for labels in found:
            assert labels and not [pod for pod in pods_of(rendered[others]) if labels.items() <= pod.items()]
            assert selects_one_of(labels, rendered[objects])


def selects_one_of(labels: dict[str, str], objects: list[Object]) -> bool:
    """Whether the labels are those of a pod, or of a Service for a ServiceMonitor, among the objects."""
    services = [o["metadata"].get("labels", {}) for o in objects if o["kind"] == "Service"]
    return any(labels.items() <= own.items() for own in (*pods_of(objects), *services))

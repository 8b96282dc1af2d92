"""Memory and storage of pods, computed from the sizes of their models."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.render import RenderContext, RenderedModel, kubernetes
from bundler.render.kubernetes.sizes import copy_size, memory_bytes
from bundler.spec.bundle_spec import BundleSpec
from tests.bundler.render.conftest import MIB, make_context
from tests.bundler.render.kubernetes.cluster import by_name, kustomize, pod_spec
from tests.samples import slow


def test_memory_follows_the_models(context: RenderContext, plain: RenderContext) -> None:
    # In MiB: 512 for the server; for each model, one served version and one more: 2 x 2 for digits, 2 x 90 for minilm.
    assert kubernetes.memory_bytes(plain) == (512 + 2 * 2 + 2 * 90) * MIB
    # With two served versions of digits.
    assert kubernetes.memory_bytes(context) == (512 + 3 * 2 + 2 * 90) * MIB


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (None, ("704Mi", "1408Mi")),
        ("1.5Gi", ("1.5Gi", "3Gi")),
        *slow(("3Gi", ("3Gi", "6Gi")), ("750M", ("750M", "1500M")), ("1073741824", ("1073741824", "2147483648"))),
    ],
)
def test_memory_of_the_pod_follows_the_settings(memory: str | None, expected: tuple[str, str], tmp_path: Path) -> None:
    kubernetes.render(make_context(kubernetes={"memory": memory, "cpu": 2}), tmp_path)
    objects = by_name(kustomize(tmp_path / "k8s" / "overlays" / "prod"))
    resources = pod_spec(objects)["containers"][0]["resources"]
    assert (resources["requests"]["memory"], resources["limits"]["memory"]) == expected
    assert resources["requests"]["cpu"] == "2"
    assert "cpu" not in resources["limits"]


def test_the_copy_volume_has_room_for_one_more_version() -> None:
    context = RenderContext("big", BundleSpec(), (RenderedModel("big", (1,), 100 * MIB),))
    assert copy_size(context) == "256Mi"


def test_memory_has_room_for_the_copies_of_weights_that_are_constants_of_a_graph() -> None:
    sizes = [
        memory_bytes(RenderContext("x", BundleSpec(), (RenderedModel("x", (1,), 30 * MIB, graph_bytes=graph),)))
        for graph in (0, 20 * MIB)
    ]
    assert sizes[1] - sizes[0] == 2 * 12 * 20 * MIB

"""Which InferenceServices a bundle has, their names, and what each serves; test_kserve.py has the rendered objects."""

from __future__ import annotations

import pytest

from bundler.errors import SpecError
from bundler.render import RenderContext, RenderedModel
from bundler.render.kubernetes import sizes
from bundler.render.kubernetes.kserve_services import port_names, services
from bundler.spec.bundle_spec import parse_spec
from tests.bundler.render.conftest import make_context

CANARY = {"components": ["canary"]}


def test_without_a_canary_a_model_has_one_service_with_all_its_versions() -> None:
    labels = {"digits": {"stable": 1, "canary": 3}}
    digits, minilm = services(make_context(serving={"labels": labels}))
    assert (digits.name, digits.track, minilm.name) == ("digits", None, "minilm")
    assert digits.context.spec.serving.labels == labels
    assert minilm.context.spec.serving.labels == {}


def test_a_track_needs_memory_for_its_own_version_only() -> None:
    labels = {"digits": {"stable": 1, "canary": 3}}
    both = services(make_context(serving={"labels": labels}))[0]
    stable, canary, _ = services(make_context(serving={"labels": labels}, kubernetes=CANARY))
    assert sizes.memory_bytes(stable.context) == sizes.memory_bytes(canary.context) < sizes.memory_bytes(both.context)


def test_names_of_canaries_and_servers_are_free_ones() -> None:
    names = ("a", "a-canary", "a-server", "b" * 53, "b" * 54)
    context = RenderContext(
        "demo", parse_spec({"kubernetes": CANARY}, where="the test"), tuple(RenderedModel(name, (1, 2), 2**20) for name in names)
    )
    found = services(context)
    own = [service.name for service in found]
    addresses = list(port_names(found).values())
    of_kserve = [f"{name}-predictor" for name in own]
    assert len({*own, *addresses, *of_kserve}) == 3 * 2 * len(names)
    assert max(map(len, (*own, *addresses, *of_kserve))) <= 63


@pytest.mark.parametrize("components", [[], ["canary"]])
def test_labels_of_unknown_models_are_refused(components: list[str]) -> None:
    with pytest.raises(SpecError, match="'other' is not in the bundle"):
        services(make_context(serving={"labels": {"other": {"stable": 1}}}, kubernetes={"components": components}))

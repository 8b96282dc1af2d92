"""The section `against`: versions and labels, bounds, and the option that sets the version for all models."""

from __future__ import annotations

import pytest

from bundler.errors import SpecError
from bundler.spec.bundle_spec import BundleSpec, parse_spec

MODELS = [{"name": "a", "source": "a.onnx", "against": {"version": 3, "max_size_ratio": None}}, {"name": "b", "source": "b.onnx"}]


def spec(**against: object) -> BundleSpec:
    return parse_spec({"models": [{"name": "a", "source": "a.onnx", "against": against}]}, where="bundle.yaml")


@pytest.mark.parametrize(("given", "read"), [(3, "3"), ("3", "3"), ("stable", "stable"), ("v1.2-rc", "v1.2-rc"), (None, None)])
def test_versions_and_labels(given: object, read: str | None) -> None:
    assert spec(version=given).models[0].against.version == read


@pytest.mark.parametrize("given", ["0", "-1", "sta ble", "", True, 1.5, ["stable"]])
def test_other_versions_are_refused(given: object) -> None:
    with pytest.raises(SpecError, match=r"against\.version"):
        spec(version=given)


@pytest.mark.parametrize("bounds", [{"min_agreement": 1.1}, {"max_latency_ratio": 0}, {"max_metric_drop": -1}, {"bound": 1}])
def test_bounds_that_cannot_be_meant_are_refused(bounds: dict[str, object]) -> None:
    with pytest.raises(SpecError, match=r"against\."):
        spec(**bounds)


def test_the_option_sets_the_version_of_every_model_and_keeps_the_bounds() -> None:
    a, b = parse_spec({"models": MODELS}, where="bundle.yaml").compared_with("stable").models
    assert a.against.version == b.against.version == "stable"
    assert a.against.max_size_ratio is None and b.against.max_size_ratio == 1.5
    with pytest.raises(SpecError, match=r"'a b' is neither a version nor a label"):
        parse_spec({"models": MODELS}, where="bundle.yaml").compared_with("a b")

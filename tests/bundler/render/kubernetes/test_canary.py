"""components/canary: a second Deployment that serves the version labelled canary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bundler.errors import SpecError
from bundler.render import RenderContext, RenderedModel, kubernetes
from bundler.render.kubernetes import canary
from bundler.spec.bundle_spec import parse_spec
from serving.config.model_server import ModelServerConfig, Specific
from tests.bundler.render.conftest import make_context
from tests.bundler.render.kubernetes.cluster import VERSIONS, assert_valid, kustomize, overlay_objects, pod_spec


def test_selectors_distinguish_the_canarys_pods_from_the_bases(tree: Path) -> None:
    found = overlay_objects(tree, "canary", "disruption-budget")
    base, other = (found["Deployment", name]["spec"]["template"]["metadata"]["labels"] for name in ("demo", "demo-canary"))
    for kind, name, labels in (("Service", "demo", base), ("Service", "demo-canary", other)):
        selector = found[kind, name]["spec"]["selector"]
        assert selector.items() <= labels.items()
        assert not selector.items() <= (other if labels is base else base).items()
    for name, labels in (("demo", base), ("demo-canary", other)):
        assert found["Deployment", name]["spec"]["selector"]["matchLabels"] == labels
    budget = found["PodDisruptionBudget", "demo"]["spec"]["selector"]["matchLabels"]
    assert budget.items() <= base.items()
    assert not budget.items() <= other.items()


@pytest.mark.parametrize("track", ["stable", "canary"])
def test_each_track_serves_its_version_under_its_label(track: canary.Track, tree: Path) -> None:
    found = overlay_objects(tree, "canary")
    name = "demo" if track == "stable" else "demo-canary"
    (config,) = (o for (kind, n), o in found.items() if kind == "ConfigMap" and n.rsplit("-", 1)[0] == f"{name}-config")
    served = {model.name: model for model in ModelServerConfig.from_text(config["data"]["models.config"]).models}
    version = 1 if track == "stable" else 3
    assert served["digits"].policy == Specific((version,))
    assert served["digits"].labels == {track: version}
    container = pod_spec(found, name)["containers"][0]
    for probe in ("startupProbe", "readinessProbe"):
        command = container[probe]["exec"]["command"]
        assert command[3:] == [f"digits/versions/{version}", "minilm/versions/4"]
    flags = container["args"]
    assert flags.count("--allow_version_labels_for_unavailable_models=true") == 1
    assert "batching.config" in config["data"]


def test_without_labels_the_canary_is_the_newest_and_stable_the_one_before(plain: RenderContext) -> None:
    assert canary.versions(plain, "canary") == {"digits": 3, "minilm": 4}
    assert canary.versions(plain, "stable") == {"digits": 2, "minilm": 4}


def test_without_labels_the_flag_for_labels_is_added(tmp_path: Path, plain: RenderContext) -> None:
    kubernetes.render(plain, tmp_path)
    found = overlay_objects(tmp_path / "k8s", "canary")
    for name in ("demo", "demo-canary"):
        flags = pod_spec(found, name)["containers"][0]["args"]
        assert flags.count("--allow_version_labels_for_unavailable_models=true") == 1


def test_the_canary_equals_the_base_except_for_version_name_and_labels(tree: Path) -> None:
    found = overlay_objects(tree, "canary")
    base, other = (found["Deployment", name] for name in ("demo", "demo-canary"))
    canary_pod, base_pod = other["spec"]["template"]["spec"], base["spec"]["template"]["spec"]
    canary_pod["volumes"][0]["configMap"]["name"] = base_pod["volumes"][0]["configMap"]["name"]
    canary_pod["topologySpreadConstraints"][0]["labelSelector"] = base_pod["topologySpreadConstraints"][0]["labelSelector"]
    for probe in ("startupProbe", "readinessProbe"):
        canary_pod["containers"][0][probe] = base_pod["containers"][0][probe]
    canary_pod["containers"][0]["args"] = sorted(canary_pod["containers"][0]["args"])
    base_pod["containers"][0]["args"] = sorted(base_pod["containers"][0]["args"])
    assert canary_pod == base_pod
    assert other["spec"]["strategy"] == base["spec"]["strategy"]


def routed(spec: Any, path: str, headers: dict[str, str] | None = None) -> dict[str, int]:
    """Return the Services that an HTTPRoute sends a request to, with their weights (Gateway API, HTTPRouteRule, "precedence")."""

    def rank(match: Any) -> tuple[bool, int, int] | None:
        kind, value = match["path"]["type"], match["path"]["value"]
        fits = path == value or (kind == "PathPrefix" and path.startswith(f"{value}/"))
        wanted = {header["name"]: header["value"] for header in match.get("headers", [])}
        return (kind == "Exact", len(value), len(wanted)) if fits and wanted.items() <= (headers or {}).items() else None

    ranked = [(rank(match), rule) for rule in spec["rules"] for match in rule["matches"]]
    found = [(best, rule) for best, rule in ranked if best is not None]
    assert found, path
    best = max(found, key=lambda item: item[0])[1]
    return {ref["name"]: ref.get("weight", 1) for ref in best["backendRefs"]}


@pytest.fixture
def route(tmp_path: Path) -> Any:
    """The HTTPRoute of a bundle whose model digits has a canary (3), a stable version (2) and a further label of the latter."""
    settings = {"canary_percent": 25, "gateway": "infra/public", "host": "models.example.org"}
    labels = {"digits": {"stable": 2, "canary": 3, "prod": 2}}
    kubernetes.render(make_context(kubernetes=settings, serving={"labels": labels}), tmp_path)
    return overlay_objects(tmp_path / "k8s", "gateway", "canary")["HTTPRoute", "demo"]["spec"]


SHARED = {"demo": 75, "demo-canary": 25}
CANARY, STABLE = {"demo-canary": 1}, {"demo": 1}
GRPC = "/tensorflow.serving.PredictionService/Predict"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        (GRPC, {}, SHARED), (STATUS, {}, SHARED), ("/v1/models/digits:predict", {}, SHARED), ("/v1/models/digits", {}, SHARED),
        ("/v1/models/minilm/metadata", {}, SHARED),
        # By header.
        (GRPC, {"x-model-label": "canary"}, CANARY), (GRPC, {"x-model-label": "stable"}, STABLE),
        (STATUS, {"x-model-label": "canary"}, CANARY), ("/v1/models/digits:predict", {"x-model-label": "canary"}, CANARY),
        (GRPC, {"x-model-version": "3"}, CANARY), (GRPC, {"x-model-version": "2"}, STABLE),
        (GRPC, {"x-model-label": "prod"}, STABLE),
        (GRPC, {"x-model-version": "4"}, SHARED), (GRPC, {"x-model-label": "other"}, SHARED),
        # By path.
        *((f"/v1/models/digits/labels/{label}{end}", {}, to)
          for label, to in (("canary", CANARY), ("stable", STABLE), ("prod", STABLE))
          for end in ("", "/metadata", ":predict", ":classify", ":regress")),
        *((f"/v1/models/digits/versions/{version}{end}", {}, to) for version, to in ((3, CANARY), (2, STABLE))
          for end in ("", "/metadata", ":predict")),
        ("/v1/models/minilm/versions/4:predict", {}, SHARED), ("/v1/models/minilm/labels/canary:predict", {}, CANARY),
        # The path says more than a header.
        ("/v1/models/digits/versions/2:predict", {"x-model-label": "canary"}, STABLE),
    ],
)  # fmt: skip
def test_requests_that_name_a_label_or_a_version_reach_the_pods_that_serve_it(
    path: str, headers: dict[str, str], expected: dict[str, int], route: Any
) -> None:
    assert routed(route, path, headers) == expected


def test_the_route_has_the_settings_and_the_ports(route: Any) -> None:
    assert route["parentRefs"] == [{"name": "public", "namespace": "infra"}]
    assert route["hostnames"] == ["models.example.org"]
    for rule in route["rules"]:
        is_rest = rule["matches"][0]["path"]["value"].startswith("/v1/")
        assert {ref["port"] for ref in rule["backendRefs"]} == {8501 if is_rest else 8500}
        assert rule.get("timeouts") == ({"request": "35s"} if is_rest else None)


def test_a_tracks_pods_serve_all_labels_of_its_version() -> None:
    context = make_context(serving={"labels": {"digits": {"stable": 2, "canary": 3, "prod": 2}}})
    assert canary.labels(context, "stable") == {"digits": ["stable", "prod"], "minilm": ["stable"]}
    assert canary.labels(context, "canary") == {"digits": ["canary"], "minilm": ["canary"]}


def test_a_route_for_too_many_models_is_refused_if_it_is_used(tmp_path: Path) -> None:
    models = tuple(RenderedModel(f"model{number}", (1, 2), 2**20) for number in range(8))

    def context(**settings: Any) -> RenderContext:
        return RenderContext("demo", parse_spec({"kubernetes": settings}, where="the test"), models)

    kubernetes.render(context(), tmp_path)
    with pytest.raises(SpecError, match="needs 143 matches for 8 models"):
        kubernetes.render(context(components=["canary", "gateway"]), tmp_path / "used")
    fits = RenderContext("demo", context(components=["canary", "gateway"]).spec, models[:7])
    kubernetes.render(fits, tmp_path / "fits")
    assert_valid(kustomize(tmp_path / "fits" / "k8s" / "overlays" / "prod"), VERSIONS[-1:])

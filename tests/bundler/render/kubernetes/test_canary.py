"""components/canary: a second Deployment that serves the version labelled canary."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.render import RenderContext, kubernetes
from bundler.render.kubernetes import canary
from serving.config.model_server import ModelServerConfig, Specific
from tests.bundler.render.conftest import make_context
from tests.bundler.render.kubernetes.cluster import overlay_objects, pod_spec


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


def test_a_gateway_splits_by_weight_and_by_header(tmp_path: Path) -> None:
    settings = {"canary_percent": 25, "gateway": "infra/public", "host": "models.example.org"}
    kubernetes.render(make_context(kubernetes=settings), tmp_path)
    found = overlay_objects(tmp_path / "k8s", "gateway", "canary")
    spec = found["HTTPRoute", "demo"]["spec"]
    assert spec["parentRefs"] == [{"name": "public", "namespace": "infra"}]
    assert spec["hostnames"] == ["models.example.org"]
    splits, by_header = spec["rules"][:2], spec["rules"][2:]
    for split, named, port in zip(splits, by_header, (8500, 8501), strict=True):
        shares = {ref["name"]: ref["weight"] for ref in split["backendRefs"]}
        assert shares == {"demo": 75, "demo-canary": 25}
        assert named["matches"][0]["headers"] == [{"name": "x-model-label", "value": "canary"}]
        assert named["matches"][0]["path"] == split["matches"][0]["path"]
        assert [ref["name"] for ref in named["backendRefs"]] == ["demo-canary"]
        assert {ref["port"] for rule in (split, named) for ref in rule["backendRefs"]} == {port}

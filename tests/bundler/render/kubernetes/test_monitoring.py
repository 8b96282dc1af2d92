"""components/alerts and components/dashboard: kustomize and Helm make the same objects, with the labels of the settings."""

from __future__ import annotations

import json
from pathlib import Path

from ruamel.yaml import YAML

from bundler.render import kubernetes
from bundler.render.kubernetes import monitoring
from bundler.render.kubernetes.tree import TREE
from tests.bundler.render.conftest import make_context
from tests.bundler.render.kubernetes.cluster import assert_valid, kustomize, overlay_objects
from tests.bundler.render.kubernetes.test_chart import assert_same, helm_objects

SETTINGS = {
    "components": ["service-monitor", "alerts", "dashboard"],
    "alerts": {"labels": {"release": "prometheus"}},
    "dashboard": {"labels": {"grafana_dashboard": "yes"}, "annotations": {"grafana_folder": "Models"}},
}


def test_kustomize_and_helm_make_the_same_rule_and_dashboard_with_the_labels_of_the_settings(tmp_path: Path) -> None:
    kubernetes.render(make_context(serving={"batching": True}, kubernetes=SETTINGS), tmp_path)
    prod = kustomize(tmp_path / "k8s" / "overlays" / "prod")
    assert_same(helm_objects(tmp_path / "k8s"), prod)
    found = {item["kind"]: item for item in prod if item["metadata"]["name"] in ("demo", "demo-dashboard")}
    assert found["PrometheusRule"]["metadata"]["labels"]["release"] == "prometheus"
    metadata = found["ConfigMap"]["metadata"]
    assert metadata["labels"]["grafana_dashboard"] == "yes" and metadata["annotations"] == {"grafana_folder": "Models"}
    (name, text), *_ = found["ConfigMap"]["data"].items()
    assert name == "demo.json" and json.loads(text)["title"] == "Models of demo"


def test_rule_without_groups_is_refused_by_the_schema(tmp_path: Path) -> None:
    kubernetes.render(make_context(kubernetes=SETTINGS), tmp_path)
    found = overlay_objects(tmp_path / "k8s", "alerts")["PrometheusRule", "demo"]
    assert_valid([found])
    found["spec"]["groups"][0]["rules"][0]["expression"] = "1"
    try:
        assert_valid([found])
    except AssertionError as exc:
        assert "expression" in str(exc)
    else:
        raise AssertionError("a key that does not exist was accepted")


def test_bundle_without_monitoring_has_neither_component_and_a_chart_that_can_switch_them_on(tmp_path: Path) -> None:
    kubernetes.render(make_context(), tmp_path)
    kubernetes.render(make_context(serving={"monitoring": False}, kubernetes=SETTINGS), tmp_path)
    tree = tmp_path / "k8s"
    assert not [path for name in ("alerts", "dashboard") for path in (tree / "components" / name).glob("*")]
    assert {item["kind"] for item in kustomize(tree / "overlays" / "prod")}.isdisjoint({"PrometheusRule", "ServiceMonitor"})
    switched = helm_objects(tree, {"metrics": {"alerts": {"enabled": True}, "dashboard": {"enabled": True}}})
    assert "PrometheusRule" in {item["kind"] for item in switched}


def test_files_of_the_shipped_example_are_written_again(tmp_path: Path) -> None:
    written = monitoring.write_example(tmp_path)
    assert len(written) == 5
    for path in written:
        assert path.read_text() == (TREE / path.relative_to(tmp_path)).read_text(), "run python -m bundler.render.kubernetes"


def test_plain_rules_are_those_of_the_resource() -> None:
    files = monitoring.files(make_context())
    resource, plain = (YAML(typ="safe").load(files[f"components/alerts/{name}.yaml"]) for name in ("prometheusrule", "rules"))
    assert resource["spec"] == plain

"""chart/: Helm's own library, from helm-python-sdk, renders the same objects as kustomize."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bundler.render import RenderContext, kubernetes
from bundler.spec.bundle_spec import COMPONENTS
from tests.bundler.render.conftest import make_context
from tests.bundler.render.kubernetes.cluster import VERSIONS, Object, assert_valid, by_name, kustomize, overlay
from tests.bundler.render.kubernetes.test_two_bundles import pods_of, selectors_of
from tests.requirements import require_package

helm = require_package("helm_python", "pip install helm-python-sdk")

LABELS = """labels:
  - pairs: {app.kubernetes.io/name: tensorflow-serving, app.kubernetes.io/instance: demo}
    includeSelectors: true
"""
"""Labels that overlays/prod adds to the objects of components."""

SETS = [
    (),
    ("autoscaling", "disruption-budget", "metrics", "network-policy", "topology-spread"),
    *((name,) for name in COMPONENTS),
    ("gateway", "canary"),
    ("canary", "tls", "models-bucket"),
    ("ingress", "tls", "models-volume"),
    tuple(name for name in COMPONENTS if name not in ("models-pvc", "models-volume")),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    kubernetes.render(make_context(serving={"batching": True}, kubernetes={"gateway": "infra/public"}), folder)
    return folder / "k8s"


def helm_objects(
    tree: Path, values: dict[str, Any] | None = None, yaml: tuple[int, int] = (1, 2), release: str | None = None
) -> list[Object]:
    """Return the objects of a release, by default one with the chart's name, as a reader of a version of YAML sees them."""
    name = YAML(typ="safe").load((tree / "chart" / "Chart.yaml").read_text())["name"]
    with helm.Chart.load(str(tree / "chart")) as chart:
        manifests = chart.render(values, name=release or name, namespace="default")
    reader = YAML(typ="safe", pure=True)
    reader.version = yaml
    texts = [text for path, text in manifests.items() if not path.endswith("NOTES.txt")]
    loaded = [d for text in texts for d in reader.load_all(text)]
    return [document for document in loaded if document]


def normal(objects: list[Object]) -> dict[tuple[str, str], Object]:
    """Return the objects without intended differences: hashes of ConfigMaps, namespaces, and the order of flags and volumes."""
    found = by_name([_plain(document) for document in objects])
    for document in found.values():
        document["metadata"].pop("namespace", None)
        if document["kind"] == "Deployment":
            _normal_template(document["spec"]["template"])
        if document["kind"] == "Ingress":
            document["spec"]["rules"][0]["http"]["paths"].sort(key=lambda path: path["path"])
    return found


def _plain(value: Any) -> Any:
    """Return a copy in which the names of ConfigMaps have no hash."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return re.sub(r"^(.*-(?:config|tls-script))-[a-z0-9]{10}$", r"\1", value) if isinstance(value, str) else value


def _normal_template(template: Object) -> None:
    annotations = template["metadata"].get("annotations", {})
    annotations.pop("checksum/config", None)
    template["metadata"]["annotations"] = annotations
    pod = template["spec"]
    pod["initContainers"] = sorted(pod.get("initContainers", []), key=lambda item: item["name"])
    pod["volumes"].sort(key=lambda volume: volume["name"])
    for container in pod["containers"]:
        container["args"].sort()
        container["volumeMounts"].sort(key=lambda mount: mount["name"])


def test_helm_lint_reports_no_problem(tree: Path) -> None:
    report = helm.lint(str(tree / "chart"), strict=True)
    assert report["total_charts_linted"] == 1
    assert not [message for message in report["messages"] if message["severity"] >= 2]
    assert not report["errors"]


@pytest.mark.parametrize("chosen", SETS, ids=lambda names: "+".join(names)[:60] or "base")
def test_helm_and_kustomize_render_the_same_objects(chosen: tuple[str, ...], tree: Path) -> None:
    name = "-".join(chosen)[:150] or "none"
    switches = {component: component in chosen for component in COMPONENTS}
    rendered = helm_objects(tree, {"components": switches})
    expected = kustomize(overlay(tree, chosen, name=f"helm-{name}", lines=LABELS))
    assert normal(rendered) == normal(expected)


def test_the_default_values_equal_the_overlay_prod(tmp_path: Path) -> None:
    settings = {"components": ["gateway", "canary", "autoscaling"], "replicas": 3, "max_replicas": 7, "cpu": "2"}
    labels = {"digits": {"stable": 1, "canary": 3}}
    kubernetes.render(make_context(kubernetes=settings, serving={"labels": labels}), tmp_path)
    rendered = helm_objects(tmp_path / "k8s")
    assert_valid(rendered)
    assert normal(rendered) == normal(kustomize(tmp_path / "k8s" / "overlays" / "prod"))


def test_the_shipped_chart_equals_the_shipped_overlay() -> None:
    assert normal(helm_objects(kubernetes.TREE)) == normal(kustomize(kubernetes.TREE / "overlays" / "prod"))


def test_chart_and_overlay_are_equal_without_monitoring(plain: RenderContext, tmp_path: Path) -> None:
    kubernetes.render(plain, tmp_path)
    assert normal(helm_objects(tmp_path / "k8s")) == normal(kustomize(tmp_path / "k8s" / "overlays" / "prod"))


@pytest.mark.parametrize(
    ("components", "expected"),
    [
        ({"models-pvc": True, "models-bucket": True}, "enable only one"),
        ({"autoscalling": True}, "there is no autoscalling"),
        ({"gpu": "yes"}, "components"),
    ],
)
def test_invalid_values_are_rejected(components: dict[str, Any], expected: str, tree: Path) -> None:
    with pytest.raises(helm.HelmError, match=expected):
        helm_objects(tree, {"components": components})


STRINGS = (
    "fullnameOverride", "image", "serverImage", "host", "ingressClass", "tlsSecret", "monitoringPath", "livenessPath",
    "volumeImage",
)  # fmt: skip
"""Values that are strings."""


@pytest.mark.parametrize("word", ["no", "on", "y", "n", "123", "1e3", "null", "0x1f"])
@pytest.mark.parametrize("source", ["models-volume", "models-pvc"])
def test_words_that_yaml_reads_as_something_else_stay_strings(word: str, source: str, tree: Path) -> None:
    """Readers of YAML 1.1 and 1.2 see the same objects, and the schemas find strings where strings belong."""
    switches = {name: not name.startswith("models-") or name == source for name in COMPONENTS}
    strings = {name: f"/{word}" if name.endswith("Path") else word for name in STRINGS}
    if not word[0].isalpha():
        del strings["fullnameOverride"]  # a Service's name begins with a letter
    values = {"components": switches, "gateway": {"name": word}, **strings}
    rendered = helm_objects(tree, values)
    assert rendered == helm_objects(tree, values, (1, 1))
    assert_valid(rendered, VERSIONS[-1:])


@pytest.mark.parametrize("source", ["models-pvc", "models-volume", "models-bucket"])
def test_two_releases_in_a_namespace_keep_apart(source: str, tree: Path) -> None:
    switches = {name: not name.startswith("models-") or name == source for name in COMPONENTS}
    one, two = (helm_objects(tree, {"components": switches}, release=name) for name in ("one", "two"))
    assert not {(o["kind"], o["metadata"]["name"]) for o in one} & {(o["kind"], o["metadata"]["name"]) for o in two}
    for objects, others in ((one, two), (two, one)):
        for labels in selectors_of([o.get("spec", {}) for o in objects]):
            assert labels and not [pod for pod in pods_of(others) if labels.items() <= pod.items()]


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("demo", {}, "demo"), ("demo-eu", {}, "demo-eu"), ("eu", {}, "eu-demo"), ("eu", {"nameOverride": "models"}, "eu-models"),
        ("eu", {"fullnameOverride": "mine"}, "mine"), ("x" * 53, {}, "x" * 53),
    ],
)  # fmt: skip
def test_names_follow_helms_convention(release: str, values: dict[str, Any], name: str, tree: Path) -> None:
    assert ("Deployment", name) in by_name(helm_objects(tree, values, release=release))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"replicas": -1}, "replicas"), ({"replicas": 1.5}, "replicas"), ({"gpus": "two"}, "gpus"),
        ({"canary": {"percent": 150}}, "percent"), ({"ports": {"grpc": 70000}}, "grpc"), ({"replicaCount": 3}, "replicaCount"),
        ({"image": "a\nstdin: true"}, "image"), ({"flags": ["--port=1"]}, "flags"), ({"flags": ["--x=1\n- y"]}, "flags"),
        ({"resources": {"requests": {"memory": "lots"}}}, "memory"), ({"host": "no host"}, "host"), ({"state": []}, "state"),
        ({"fullnameOverride": "Mine"}, "fullnameOverride"), ({"monitoringPath": "metrics"}, "monitoringPath"),
    ],
)  # fmt: skip
def test_values_outside_the_schema_are_refused_by_name(values: dict[str, Any], field: str, tree: Path) -> None:
    with pytest.raises(helm.HelmError, match=field):
        helm_objects(tree, values)


def test_ports_reach_the_flags_and_the_probes(tree: Path) -> None:
    deployment = by_name(helm_objects(tree, {"ports": {"grpc": 9000, "rest": 9001}}))["Deployment", "demo"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"][:2] == ["--port=9000", "--rest_api_port=9001"]
    assert [port["containerPort"] for port in container["ports"]] == [9000, 9001]
    assert container["readinessProbe"]["exec"]["command"][2] == "9001"


def test_a_changed_configuration_triggers_a_rollout(tree: Path) -> None:
    def checksum(values: dict[str, Any]) -> str:
        template = by_name(helm_objects(tree, values))["Deployment", "demo"]["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum({}) == checksum({"replicas": 5})
    assert checksum({}) != checksum({"config": {"monitoring.config": "prometheus_config { enable: false }\n"}})

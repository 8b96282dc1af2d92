"""chart/: Helm's own library, from helm-python-sdk, renders the same objects as kustomize."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bundler.render import RenderContext, RenderedModel, kubernetes
from bundler.render.kubernetes import chart
from bundler.render.kubernetes.chart import SWITCHES
from bundler.render.kubernetes.pods import merged
from bundler.spec.bundle_spec import BundleSpec
from tests.bundler.render.conftest import make_context
from tests.bundler.render.kubernetes.cluster import (
    ALONE,
    OTHERS,
    TOGETHER,
    VERSIONS,
    Object,
    assert_restricted,
    assert_valid,
    by_name,
    kustomize,
    overlay,
)
from tests.bundler.render.kubernetes.test_two_bundles import pods_of, selectors_of
from tests.requirements import require_package

helm = require_package("helm_python", "pip install helm-python-sdk")

LABELS = """labels:
  - pairs:
      app.kubernetes.io/name: tensorflow-serving
      app.kubernetes.io/instance: demo
      app.kubernetes.io/version: digits-3_minilm-4-2.19.1-gpu
"""
"""Labels that overlays/prod adds to the objects of components."""

SETS = [
    (),
    ("autoscaling", "disruption-budget", "metrics", "network-policy", "topology-spread"),
    *ALONE,
    ("gateway", "canary"),
    ("canary", "tls", "models-bucket"),
    ("ingress", "tls", "models-volume"),
    ("canary", "tls", "models-oci"),
    *TOGETHER[1:],
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    settings = {"serving": {"batching": True}, "kubernetes": {"gateway": "infra/public"}, "docker": {"tag": "2.19.1-gpu"}}
    kubernetes.render(make_context(**settings), folder)
    return folder / "k8s"


def switches(*chosen: str) -> dict[str, Any]:
    """Return the chart's values that switch on exactly these components."""
    values: dict[str, Any] = {}
    for component, (*path, key) in SWITCHES.items():
        section = values
        for name in path:
            section = section.setdefault(name, {})
        section[key] = component in chosen
    return values


def helm_objects(
    tree: Path, values: dict[str, Any] | None = None, yaml: tuple[int, int] = (1, 2), release: str | None = None
) -> list[Object]:
    """Return the objects of a release, by default one with the chart's name, as a reader of a version of YAML sees them."""
    name = YAML(typ="safe").load((tree / "chart" / "Chart.yaml").read_text())["name"]
    with helm.Chart.load(str(tree / "chart")) as chart:
        manifests = chart.render(values, name=release or name, namespace="default")
    reader = YAML(typ="safe", pure=True)
    reader.version = yaml
    texts = [text for path, text in manifests.items() if not path.endswith("NOTES.txt") and "/tests/" not in path]
    loaded = [d for text in texts for d in reader.load_all(text)]
    return [document for document in loaded if document]


def normal(objects: list[Object]) -> dict[tuple[str, str], Object]:
    """Return the objects without intended differences: hashes of ConfigMaps, namespaces, and the order of flags and volumes."""
    found = by_name([_plain(document) for document in objects])
    for document in found.values():
        document["metadata"].pop("namespace", None)
        for label in ("helm.sh/chart", "app.kubernetes.io/managed-by"):
            document["metadata"].get("labels", {}).pop(label, None)
        if document["kind"] in ("Deployment", "Job"):
            _normal_template(document["spec"]["template"])
        if document["kind"] == "Ingress":
            document["spec"]["rules"][0]["http"]["paths"].sort(key=lambda path: path["path"])
    return found


def assert_same(rendered: list[Object], expected: list[Object]) -> None:
    """Check that Helm's and kustomize's objects mean the same; the message names the fields that differ."""
    differences = list(_differences(normal(rendered), normal(expected)))
    assert not differences, "\n".join(differences)


def _differences(one: Any, two: Any, where: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(two, dict):
        for key in sorted(one.keys() | two.keys(), key=str):
            yield from _differences(one.get(key), two.get(key), f"{where}/{key}")
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        for index, (first, second) in enumerate(zip(one, two, strict=True)):
            yield from _differences(first, second, f"{where}/{index}")
    elif one != two or type(one) is not type(two):
        yield f"{where}: {one!r} != {two!r}"


def _plain(value: Any) -> Any:
    """Return a copy in which the names of ConfigMaps have no hash."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return re.sub(r"^(.*-(?:config|tls-script|fill-script))-[a-z0-9]{10}$", r"\1", value) if isinstance(value, str) else value


def _normal_template(template: Object) -> None:
    annotations = template["metadata"].get("annotations", {})
    annotations.pop("checksum/config", None)
    template["metadata"]["annotations"] = annotations
    pod = template["spec"]
    pod["initContainers"] = sorted(pod.get("initContainers", []), key=lambda item: item["name"])
    pod["volumes"].sort(key=lambda volume: volume["name"])
    for container in pod["containers"]:
        container.get("args", []).sort()
        container.get("env", []).sort(key=lambda variable: variable["name"])
        container["volumeMounts"].sort(key=lambda mount: mount["name"])


def test_helm_lint_reports_no_problem(tree: Path) -> None:
    report = helm.lint(str(tree / "chart"), strict=True)
    assert report["total_charts_linted"] == 1
    assert not [message for message in report["messages"] if message["severity"] >= 2]
    assert not report["errors"]


@pytest.mark.sample(3)
@pytest.mark.parametrize("chosen", SETS, ids=lambda names: "+".join(names)[:60] or "base")
def test_helm_and_kustomize_render_the_same_objects(chosen: tuple[str, ...], tree: Path) -> None:
    name = "-".join(chosen)[:150] or "none"
    rendered = helm_objects(tree, switches(*chosen))
    expected = kustomize(overlay(tree, chosen, name=f"helm-{name}", lines=LABELS))
    assert_same(rendered, expected)


def test_the_default_values_equal_the_overlay_prod(tmp_path: Path) -> None:
    settings = {"components": ["gateway", "canary", "autoscaling"], "replicas": 3, "max_replicas": 7, "cpu": "2"}
    labels = {"digits": {"stable": 1, "canary": 3}}
    kubernetes.render(make_context(kubernetes=settings, serving={"labels": labels}), tmp_path)
    rendered = helm_objects(tmp_path / "k8s")
    assert_valid(rendered)
    assert_same(rendered, kustomize(tmp_path / "k8s" / "overlays" / "prod"))


def test_the_shipped_chart_equals_the_shipped_overlay() -> None:
    assert_same(helm_objects(kubernetes.TREE), kustomize(kubernetes.TREE / "overlays" / "prod"))


def test_chart_and_overlay_are_equal_without_monitoring(plain: RenderContext, tmp_path: Path) -> None:
    kubernetes.render(plain, tmp_path)
    assert_same(helm_objects(tmp_path / "k8s"), kustomize(tmp_path / "k8s" / "overlays" / "prod"))


OTHER_MODEL = 'model_config_list { config { name: "other" base_path: "/models/other" model_platform: "tensorflow" } }'


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (switches("models-pvc", "models-bucket"), "enable only one"),
        (switches("fill-claim"), "persistence.enabled: true"),
        (switches("gpu") | {"serverImage": {"tag": "2.19.1"}}, "render the bundle again with docker.tag: 2.19.1-gpu"),
        ({"autoscaling": {"minReplicas": 4, "maxReplicas": 3}}, "autoscaling.maxReplicas: 3"),
        ({"state": ["other"]}, "state: a probe asks for the model other, which config.models.config does not have"),
        ({"livenessPath": "/v1/models/other"}, "livenessPath: a probe asks for the model other"),
        ({"config": {"models.config": OTHER_MODEL}}, "state: a probe asks for the model digits"),
        (switches("canary") | {"canary": {"enabled": True, "state": ["a.b"]}}, "canary.state: a probe asks for the model a.b"),
    ],
)
def test_values_that_exclude_each_other_are_refused(values: dict[str, Any], expected: str, tree: Path) -> None:
    with pytest.raises(helm.HelmError, match=expected):
        helm_objects(tree, values)


def everything(source: str) -> dict[str, Any]:
    """Return the values that switch on all components with one source of models."""
    return switches(*next(names for names in TOGETHER if source in names))


def with_strings(word: str) -> dict[str, Any]:
    """Return values that are strings, each with the word."""
    return {
        "fullnameOverride": word, "image": {"repository": word, "tag": word}, "serverImage": {"repository": word, "tag": word},
        "imagePullSecrets": [{"name": word}], "serviceAccount": {"name": word, "annotations": {"a": word}},
        "podAnnotations": {"a": word}, "podLabels": {word: word}, "nodeSelector": {"a": word}, "priorityClassName": word,
        "tolerations": [{"key": word, "value": word, "operator": "Equal"}], "runtimeClassName": word,
        "env": [{"name": "A", "value": word}], "envFrom": [{"configMapRef": {"name": word}}],
        "volumes": [{"name": "data", "secret": {"secretName": word}}], "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "service": {"annotations": {"a": word}}, "metrics": {"path": f"/{word}"},
        "httpRoute": {"parentRefs": [{"name": word}], "hostnames": [word]}, "networkPolicy": {"prometheusNamespace": word},
        "ingress": {"className": word, "hosts": [{"host": word}], "tls": [{"secretName": word, "hosts": [word]}]},
        "tls": {"secretName": word}, "persistence": {"existingClaim": word}, "imageVolume": {"reference": word},
        "bucket": {"image": word, "secretName": word},
        "registry": {"image": word, "reference": word, "secretName": word},
    }  # fmt: skip


@pytest.mark.sample(6)
@pytest.mark.parametrize(
    ("word", "source"),
    [
        *itertools.product(("no", "on", "y", "n", "123", "1e3", "null", "0x1f"), ("models-volume", "models-pvc")),
        ("1e3", "models-oci"), ("no", "models-oci"),
    ],
)  # fmt: skip
def test_words_that_yaml_reads_as_something_else_stay_strings(word: str, source: str, tree: Path) -> None:
    """Readers of YAML 1.1 and 1.2 see the same objects, and the schemas find strings where strings belong."""
    strings = with_strings(word)
    if not word[0].isalpha():
        del strings["fullnameOverride"]  # a Service's name begins with a letter
    values = merged(everything(source), strings)
    rendered = helm_objects(tree, values)
    assert rendered == helm_objects(tree, values, (1, 1))
    assert_valid(rendered, VERSIONS[-1:])


@pytest.mark.parametrize("source", ["models-pvc", "models-volume", "models-bucket", "models-oci"])
def test_two_releases_in_a_namespace_keep_apart(source: str, tree: Path) -> None:
    one, two = (helm_objects(tree, everything(source), release=name) for name in ("one", "two"))
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
        ({"replicaCount": -1}, "replicaCount"), ({"replicaCount": 1.5}, "replicaCount"), ({"replicas": 3}, "replicas"),
        ({"gpu": {"count": "two"}}, "count"), ({"gpu": {"enabled": "yes"}}, "enabled"), ({"autoscalling": {}}, "autoscalling"),
        ({"canary": {"percent": 150}}, "percent"), ({"containerPorts": {"grpc": 70000}}, "grpc"),
        ({"image": {"repository": "a\nstdin: true"}}, "repository"), ({"image": "a"}, "image"),
        ({"flags": ["--port=1"]}, "flags"), ({"flags": ["--x=1\n- y"]}, "flags"),
        ({"resources": {"requests": {"memory": "lots"}}}, "memory"),
        ({"httpRoute": {"hostnames": ["no host"]}}, "hostnames"), ({"state": []}, "state"),
        ({"fullnameOverride": "Mine"}, "fullnameOverride"), ({"metrics": {"path": "metrics"}}, "path"),
        ({"tolerations": [{"efect": "NoSchedule"}]}, "efect"), ({"affinity": {"nodeAfinity": {}}}, "nodeAfinity"),
        ({"env": [{"name": "A", "value": 1}]}, "value"), ({"podSecurityContext": {"runAsUser": "root"}}, "runAsUser"),
        ({"service": {"type": "LoadBalancr"}}, "type"), ({"persistence": {"accessMode": "rwx"}}, "accessMode"),
        ({"ingress": {"hosts": [{"host": "a.b", "paths": []}]}}, "paths"), ({"podLabels": {"a": "b c"}}, "podLabels"),
    ],
)  # fmt: skip
def test_values_outside_the_schema_are_refused_by_name(values: dict[str, Any], field: str, tree: Path) -> None:
    with pytest.raises(helm.HelmError, match=field):
        helm_objects(tree, values)


def test_ports_reach_the_flags_and_the_probes(tree: Path) -> None:
    deployment = by_name(helm_objects(tree, {"containerPorts": {"grpc": 9000, "rest": 9001}}))["Deployment", "demo"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"][:2] == ["--port=9000", "--rest_api_port=9001"]
    assert [port["containerPort"] for port in container["ports"]] == [9000, 9001]
    assert container["readinessProbe"]["exec"]["command"][2] == "9001"


def test_a_changed_configuration_triggers_a_rollout(tree: Path) -> None:
    def checksum(values: dict[str, Any]) -> str:
        template = by_name(helm_objects(tree, values))["Deployment", "demo"]["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum({}) == checksum({"replicaCount": 5})
    assert checksum({}) != checksum({"config": {"monitoring.config": "prometheus_config { enable: false }\n"}})


def test_the_charts_version_changes_with_its_content_and_rises_with_the_models(tmp_path: Path) -> None:
    def version_of(context: RenderContext) -> str:
        return str(YAML(typ="safe").load(chart.files(context)["chart/Chart.yaml"])["version"])

    def version(**sections: Any) -> str:
        return version_of(make_context(**sections))

    first = version()
    assert re.fullmatch(r"0\.7\.0\+[0-9a-f]{8}", first)  # digits 3 and minilm 4
    assert version() == first
    others = [version(kubernetes={"replicas": 3}), version(docker={"tag": "2.20.0"}), version(serving={"batching": True})]
    assert len({first, *others}) == 4
    huge = RenderContext("demo", BundleSpec(), tuple(RenderedModel(name, (2**63 - 1,), 1) for name in ("a", "b")))
    assert version_of(huge).startswith(f"0.{2**63 - 1}.0+")
    kubernetes.render(huge, tmp_path)
    assert helm_objects(tmp_path / "k8s")


def test_helm_test_asks_the_service_for_all_models(tree: Path) -> None:
    with helm.Chart.load(str(tree / "chart")) as loaded:
        manifests = loaded.render({"service": {"port": 80}}, name="demo", namespace="default")
    (text,) = (text for path, text in manifests.items() if "/tests/" in path)
    pod = YAML(typ="safe").load(text)
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    (container,) = pod["spec"]["containers"]
    assert container["command"] == ["bash", "/etc/tf-serving/model-state.sh", "80", "digits", "minilm"]
    assert container["env"] == [{"name": "SERVER_HOST", "value": "demo"}]
    assert_valid([pod])
    assert_restricted(pod["spec"])
    for labels in selectors_of([o.get("spec", {}) for o in helm_objects(tree, everything("models-pvc"))]):
        assert not labels.items() <= pod["metadata"]["labels"].items()


def test_a_models_config_of_ones_own_is_served_with_probes_that_fit(tree: Path) -> None:
    values = {"config": {"models.config": OTHER_MODEL}, "state": ["other"], "livenessPath": "/v1/models/other"}
    (container,) = by_name(helm_objects(tree, values))["Deployment", "demo"]["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["exec"]["command"][3:] == ["other"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/v1/models/other"


def test_service_ports_of_their_own_leave_the_containers_alone(tree: Path) -> None:
    found = by_name(helm_objects(tree, {"service": {"port": 80, "grpcPort": 9000, "type": "LoadBalancer"}} | switches("gateway")))
    spec = found["Service", "demo"]["spec"]
    assert ([port["port"] for port in spec["ports"]], spec["type"]) == ([9000, 80], "LoadBalancer")
    assert {ref["port"] for rule in found["HTTPRoute", "demo"]["spec"]["rules"] for ref in rule["backendRefs"]} == {9000, 80}
    (container,) = found["Deployment", "demo"]["spec"]["template"]["spec"]["containers"]
    assert container["args"][:2] == ["--port=8500", "--rest_api_port=8501"]


def test_an_image_without_a_tag_gets_the_charts_version_of_the_application(tree: Path) -> None:
    image = {"repository": "registry.example.com/digits", "tag": ""}
    found = by_name(helm_objects(tree, {"image": image}))
    (container,) = found["Deployment", "demo"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/digits:digits-3_minilm-4-2.19.1-gpu"
    digest = f"sha256:{'a' * 64}"
    found = by_name(helm_objects(tree, {"image": image | {"digest": digest}}))
    (container,) = found["Deployment", "demo"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"registry.example.com/digits@{digest}"


CONVENTIONAL = (
    "replicaCount", "image.repository", "image.pullPolicy", "image.tag", "imagePullSecrets", "nameOverride", "fullnameOverride",
    "serviceAccount.create", "serviceAccount.automount", "serviceAccount.annotations", "serviceAccount.name", "podAnnotations",
    "podLabels", "podSecurityContext", "securityContext", "service.type", "service.port", "ingress.enabled", "ingress.className",
    "ingress.annotations", "ingress.hosts", "ingress.tls", "httpRoute.enabled", "httpRoute.annotations", "httpRoute.parentRefs",
    "httpRoute.hostnames", "resources", "livenessProbe", "readinessProbe", "autoscaling.enabled", "autoscaling.minReplicas",
    "autoscaling.maxReplicas", "autoscaling.targetCPUUtilizationPercentage", "volumes", "volumeMounts", "nodeSelector",
    "tolerations", "affinity",
)  # fmt: skip
"""Values of a chart that `helm create` makes (Helm 3.19), besides httpRoute.rules, which are fixed here."""


@pytest.mark.sample(4)
@pytest.mark.parametrize("path", CONVENTIONAL)
def test_conventional_values_are_taken_up(path: str, tree: Path) -> None:
    """Each value changes the objects; the tests above and below show how."""
    other: dict[str, Any] = {
        "replicaCount": 7, "image.repository": "other", "image.pullPolicy": "Always", "image.tag": "other",
        "imagePullSecrets": [{"name": "registry"}], "nameOverride": "other", "fullnameOverride": "other",
        "serviceAccount.create": False, "serviceAccount.automount": True, "serviceAccount.annotations": {"a": "b"},
        "serviceAccount.name": "other", "podAnnotations": {"a": "b"}, "podLabels": {"a": "b"},
        "podSecurityContext": {"fsGroup": 5}, "securityContext": {"runAsUser": 5}, "service.type": "NodePort", "service.port": 80,
        "ingress.className": "other", "ingress.annotations": {"a": "b"}, "ingress.hosts": [{"host": "a.b"}], "ingress.tls": [],
        "httpRoute.annotations": {"a": "b"}, "httpRoute.parentRefs": [{"name": "other"}], "httpRoute.hostnames": ["a.b"],
        "resources": {"limits": {"cpu": 3}}, "livenessProbe": {"periodSeconds": 3}, "readinessProbe": {"periodSeconds": 3},
        "autoscaling.minReplicas": 3, "autoscaling.maxReplicas": 30, "autoscaling.targetCPUUtilizationPercentage": 30,
        "volumes": [{"name": "data", "emptyDir": {}}], "volumeMounts": [{"name": "tmp", "mountPath": "/data"}],
        "nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}], "affinity": {"nodeAffinity": {}},
    }  # fmt: skip
    chosen = switches("ingress", "gateway", *(() if path == "replicaCount" else ("autoscaling",)))
    keys = path.split(".")
    value = other.get(path, not chosen.get(keys[0], {}).get("enabled"))
    changed = merged(chosen, {keys[0]: value if len(keys) == 1 else {keys[1]: value}})
    before, after = helm_objects(tree, chosen, release="eu"), helm_objects(tree, changed, release="eu")
    assert before != after
    if path != "serviceAccount.automount":  # a token in the pod is what the checks forbid
        assert_valid(after, VERSIONS[-1:])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_releases_keep_apart_with_any_components(tree: Path) -> None:
    """All 24,576 combinations, also if the releases have different ones: names, selectors and pods of all are compared."""
    sources = ((), ("models-pvc",), ("models-pvc", "fill-claim"), ("models-volume",), ("models-bucket",), ("models-oci",))
    sets = [(*chosen, *source) for size in range(len(OTHERS) + 1) for chosen in itertools.combinations(OTHERS, size)
            for source in sources]  # fmt: skip
    assert len(sets) == 24576
    one, two = (seen_in(tree, name, sets) for name in ("one", "two"))
    assert one.names and not one.names & two.names
    for release, other in ((one, two), (two, one)):
        assert all(release.selectors)
        assert not [(selector, pod) for selector in release.selectors for pod in other.pods if selector <= pod]


@dataclass
class Seen:
    """What the objects of a release use: kinds and names, labels in selectors, and labels of pods."""

    names: set[tuple[str, str]] = field(default_factory=set)
    selectors: set[frozenset[tuple[str, str]]] = field(default_factory=set)
    pods: set[frozenset[tuple[str, str]]] = field(default_factory=set)


def seen_in(tree: Path, release: str, sets: list[tuple[str, ...]]) -> Seen:
    """Return what a release uses with any of the sets of components."""
    seen = Seen()
    reader = YAML(typ="safe")  # in C
    known: dict[str, list[Object]] = {}
    with helm.Chart.load(str(tree / "chart")) as loaded:
        for chosen in sets:
            for text in loaded.render(switches(*chosen), name=release, namespace="default").values():
                if text not in known and "apiVersion" in text:
                    known[text] = [document for document in reader.load_all(text) if document]
                    seen.names |= {(o["kind"], o["metadata"]["name"]) for o in known[text]}
                    found = (labels for o in known[text] for labels in selectors_of(o.get("spec", {})))
                    seen.selectors |= {frozenset(labels.items()) for labels in found}
                    seen.pods |= {frozenset(labels.items()) for labels in pods_of(known[text])}
    return seen

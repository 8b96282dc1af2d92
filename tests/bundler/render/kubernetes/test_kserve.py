"""kserve/: objects that KServe accepts, with the bundle's flags, probes that read the body, and pods that drain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bundler.render import RenderContext, RenderedModel, kubernetes, tf_serving
from bundler.render.kubernetes.storage import locate
from bundler.spec.bundle_spec import BundleSpec
from serving.config.model_server import ModelServerConfig, ServedModel
from serving.config.version_policy import Latest, Specific
from tests.bundler.render.conftest import make_context
from tests.bundler.render.kubernetes.cluster import assert_container_restricted, assert_valid, by_name, kustomize
from tests.bundler.render.kubernetes.test_canary import routed


@pytest.fixture
def objects(context: RenderContext, tmp_path: Path) -> dict[tuple[str, str], Any]:
    kubernetes.render(context, tmp_path)
    return by_name(kustomize(tmp_path / "k8s" / "kserve"))


def test_all_objects_are_valid(objects: dict[tuple[str, str], Any]) -> None:
    assert_valid(list(objects.values()))
    kinds = {kind for kind, _ in objects}
    assert kinds == {"ConfigMap", "ServingRuntime", "InferenceService", "Service", "PersistentVolumeClaim", "Job"}


def test_the_shipped_objects_are_valid() -> None:
    assert_valid(kustomize(kubernetes.TREE / "kserve"))


def test_runtime_services_and_config_files_refer_to_each_other(objects: dict[tuple[str, str], Any]) -> None:
    runtime = objects["ServingRuntime", "demo"]["spec"]
    (config,) = (o for (kind, _), o in objects.items() if kind == "ConfigMap")
    assert runtime["volumes"][0]["configMap"]["name"] == config["metadata"]["name"]
    container = runtime["containers"][0]
    models = [objects["InferenceService", name]["spec"]["predictor"]["model"] for name in ("digits", "minilm")]
    flags = [*container["args"], *(flag for model in models for flag in model["args"])]
    files = [flag.split("=")[1] for flag in flags if "_file=" in flag]
    assert {Path(file).name for file in files} <= set(config["data"])
    assert {str(Path(file).parent) for file in files} == {tf_serving.CONFIG_DIR}
    for model in models:
        assert model["runtime"] == "demo"
        assert model["modelFormat"]["name"] == runtime["supportedModelFormats"][0]["name"]


def test_flags_are_the_bundles_except_for_ports_and_model(objects: dict[tuple[str, str], Any]) -> None:
    flags = objects["ServingRuntime", "demo"]["spec"]["containers"][0]["args"]
    assert flags[:2] == ["--port=9000", "--rest_api_port=8080"]
    assert "--enable_batching=true" in flags
    assert not [flag for flag in flags if "model_config_file" in flag or "labels" in flag]
    assert objects["InferenceService", "digits"]["spec"]["predictor"]["model"]["args"] == [
        "--model_config_file=/etc/tf-serving/models-digits.config", "--allow_version_labels_for_unavailable_models=true",
    ]  # fmt: skip


def test_each_model_has_a_service_with_its_own_memory(objects: dict[tuple[str, str], Any]) -> None:
    digits, minilm = (objects["InferenceService", name]["spec"]["predictor"] for name in ("digits", "minilm"))
    assert minilm["model"]["args"] == ["--model_config_file=/etc/tf-serving/models-minilm.config"]
    assert digits["model"]["storageUri"] == "pvc://demo-kserve-models/digits"
    assert digits["model"]["readinessProbe"]["exec"]["command"][1:] == [
        f"{tf_serving.CONFIG_DIR}/model-state.sh", "8080", "digits/versions/1", "digits/versions/3",
    ]  # fmt: skip
    assert digits["model"]["resources"]["requests"]["memory"] == "576Mi"
    assert minilm["model"]["resources"]["requests"]["memory"] == "704Mi"


def test_pods_are_restricted_and_drain(objects: dict[tuple[str, str], Any]) -> None:
    container = objects["ServingRuntime", "demo"]["spec"]["containers"][0]
    assert_container_restricted(container)
    predictor = objects["InferenceService", "minilm"]["spec"]["predictor"]
    assert predictor["securityContext"]["runAsNonRoot"] is True
    assert predictor["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert int(container["lifecycle"]["preStop"]["exec"]["command"][1]) < predictor["terminationGracePeriodSeconds"]


def test_grpc_has_a_port_of_its_own_after_the_one_for_rest(objects: dict[tuple[str, str], Any]) -> None:
    """KServe's Service gives the first port number 80, and each further one its own."""
    ports = objects["ServingRuntime", "demo"]["spec"]["containers"][0]["ports"]
    assert [(port["name"], port["containerPort"]) for port in ports] == [("http1", 8080), ("grpc", 9000)]


def test_a_claim_of_its_own_is_filled_from_the_image(objects: dict[tuple[str, str], Any], context: RenderContext) -> None:
    assert ("PersistentVolumeClaim", "demo-kserve-models") in objects
    (job,) = (o for (kind, _), o in objects.items() if kind == "Job")
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == context.image
    config, claim = pod["volumes"]
    assert "fill-claim.sh" in objects["ConfigMap", config["configMap"]["name"]]["data"]
    assert claim["persistentVolumeClaim"]["claimName"] == "demo-kserve-models"


SOURCES: tuple[tuple[dict[str, Any], set[str], str], ...] = (
    ({"storage_uri": "s3://bucket"}, set(), "s3://bucket/digits"),
    ({"storage_uri": "oci+native://registry.example.com/digits:1"}, set(), "oci+native://registry.example.com/digits:1"),
    ({"storage_uri": "oci+native://h.io/digits:1", "volume_image": "h.io/x:2"}, set(), "oci+native://h.io/x:2"),
    ({"storage_uri": "pvc://mine/of/models"}, set(), "pvc://mine/of/models/digits"),
    ({"storage_uri": "oci://h.io/digits:1"}, set(), "oci://h.io/digits:1"),
    ({"storage_uri": "hf://owner/repo:main/models"}, set(), "hf://owner/repo:main"),
    ({"storage_uri": "https://example.com/digits.tar.gz"}, set(), "https://example.com/digits.tar.gz"),
    ({"claim": {"existing": "mine"}}, set(), "pvc://mine/digits"),
    ({"claim": {"existing": "mine"}, "components": ["models-pvc", "fill-claim"]}, {"Job"}, "pvc://mine/digits"),
)
"""Settings, the kinds of the objects that they need, and the storageUri of digits."""


@pytest.mark.slow
def test_each_source_has_the_objects_that_it_needs_and_no_others(tmp_path: Path) -> None:
    kubernetes.render(make_context(), tmp_path)
    for settings, kinds, uri in SOURCES:  # each over the files of the one before
        kubernetes.render(make_context(kubernetes=settings), tmp_path)
        found = by_name(kustomize(tmp_path / "k8s" / "kserve"))
        assert_valid(list(found.values()))
        always = {"ConfigMap", "ServingRuntime", "InferenceService", "Service"}
        assert {kind for kind, _ in found} - always == kinds, uri
        assert found["InferenceService", "digits"]["spec"]["predictor"]["model"]["storageUri"] == uri
        base = next(model.base_path for model in served_models(found) if model.name == "digits")
        assert base == locate(settings.get("storage_uri", "pvc://mine"), "digits").base_path


def test_pods_are_replaced_when_the_runtime_changes(tmp_path: Path) -> None:
    def annotation(**sections: Any) -> str:
        kubernetes.render(make_context(**sections), tmp_path)
        service = by_name(kustomize(tmp_path / "k8s" / "kserve"))["InferenceService", "digits"]
        return str(service["metadata"]["annotations"]["tfbundle/settings"])

    first = annotation()
    assert annotation(kubernetes={"replicas": 5, "host": "a.example.com"}) == first
    assert annotation(docker={"tag": "2.20.0"}) != first
    assert annotation(serving={"batching": True}) != first
    assert annotation(kubernetes={"pod": {"env": [{"name": "A", "value": "b"}]}}) != first


def test_gpus_and_pod_settings_reach_the_pods(tmp_path: Path) -> None:
    pod = {"priority_class": "high", "tolerations": [{"key": "ml", "operator": "Exists"}], "labels": {"team": "ml"}}
    settings = {"components": ["gpu"], "gpus": 2, "pod": pod}
    kubernetes.render(make_context(kubernetes=settings, docker={"tag": "2.19.1-gpu"}), tmp_path)
    found = by_name(kustomize(tmp_path / "k8s" / "kserve"))
    assert_valid(list(found.values()))
    predictor = found["InferenceService", "minilm"]["spec"]["predictor"]
    assert predictor["model"]["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert [toleration["key"] for toleration in predictor["tolerations"]] == ["ml", "nvidia.com/gpu"]
    assert (predictor["priorityClassName"], predictor["labels"]["team"]) == ("high", "ml")
    container = found["ServingRuntime", "demo"]["spec"]["containers"][0]
    assert container["env"] == [{"name": "TF_FORCE_GPU_ALLOW_GROWTH", "value": "true"}]


def test_services_of_similar_names_are_two(tmp_path: Path) -> None:
    models = tuple(RenderedModel(name, (1,), 2**20) for name in ("my_model", "my-model"))
    kubernetes.render(RenderContext("demo", BundleSpec(), models), tmp_path)
    found = by_name(kustomize(tmp_path / "k8s" / "kserve"))
    served = [o["spec"]["predictor"]["model"] for (kind, _), o in found.items() if kind == "InferenceService"]
    assert len({model["args"][0] for model in served}) == 2
    assert {model.name for model in served_models(found)} == {"my_model", "my-model"}
    assert {model["livenessProbe"]["httpGet"]["path"] for model in served} == {"/v1/models/my-model", "/v1/models/my_model"}


def served_models(found: dict[tuple[str, str], Any]) -> list[ServedModel]:
    """Return the models of the models.config of each InferenceService, after checking that there is one file for each."""
    (data,) = (o["data"] for (kind, _), o in found.items() if kind == "ConfigMap")
    flags = [o["spec"]["predictor"]["model"]["args"][0] for (kind, _), o in found.items() if kind == "InferenceService"]
    assert sorted(Path(flag).name for flag in flags) == sorted(name for name in data if name.startswith("models-"))
    return [model for flag in flags for model in ModelServerConfig.from_text(data[Path(flag).name]).models]


def test_versions_and_labels_of_the_bundle_are_served(objects: dict[tuple[str, str], Any]) -> None:
    digits, minilm = served_models(objects)
    assert (digits.policy, dict(digits.labels)) == (Specific((1, 3)), {"stable": 1, "canary": 3})
    assert minilm.policy == Latest()


def test_both_ports_have_a_service_that_finds_the_pods(objects: dict[tuple[str, str], Any]) -> None:
    for name in ("digits", "minilm"):
        service = objects["Service", f"{name}-server"]["spec"]
        assert service["selector"].items() <= objects["InferenceService", name]["spec"]["predictor"]["labels"].items()
        assert [(port["port"], port["targetPort"], port["appProtocol"]) for port in service["ports"]] == [
            (8500, "grpc", "kubernetes.io/h2c"), (8501, "http1", "http"),
        ]  # fmt: skip
    assert objects["Service", "digits-server"]["spec"]["selector"] != objects["Service", "minilm-server"]["spec"]["selector"]


CANARY = {"components": ["gateway", "canary"], "canary_percent": 25, "replicas": 3}


def test_a_canary_is_a_service_of_its_own_with_a_share_of_the_requests(tmp_path: Path) -> None:
    labels = {"digits": {"stable": 1, "canary": 3, "old": 1}}
    kubernetes.render(make_context(serving={"labels": labels}, kubernetes=CANARY), tmp_path)
    found = by_name(kustomize(tmp_path / "k8s" / "kserve"))
    assert_valid(list(found.values()))
    names = [name for kind, name in found if kind == "InferenceService"]
    assert sorted(names) == ["digits", "digits-canary", "minilm"]  # minilm has only one version
    assert found["InferenceService", "digits"]["spec"]["predictor"]["minReplicas"] == 3
    assert found["InferenceService", "digits-canary"]["spec"]["predictor"]["minReplicas"] == 1
    served = {(model.name, model.policy): dict(model.labels) for model in served_models(found)}
    assert served == {
        ("digits", Specific((1,))): {"stable": 1, "old": 1}, ("digits", Specific((3,))): {"canary": 3}, ("minilm", Latest()): {},
    }  # fmt: skip
    route = found["HTTPRoute", "digits"]["spec"]
    assert [kind for kind, _ in found].count("HTTPRoute") == 1
    assert route["hostnames"] == ["digits.demo.example.com"]
    every = {"digits-server": 75, "digits-canary-server": 25}
    predict, rest = "/tensorflow.serving.PredictionService/Predict", "/v1/models/digits"
    assert routed(route, predict) == routed(route, f"{rest}:predict") == every
    for label, service in (("old", "digits-server"), ("canary", "digits-canary-server")):
        assert routed(route, predict, {"x-model-label": label}) == {service: 1}
        assert routed(route, f"{rest}/labels/{label}:predict") == {service: 1}
    assert routed(route, f"{rest}/versions/3") == {"digits-canary-server": 1}
    for rule in route["rules"]:
        for backend in rule["backendRefs"]:
            assert backend["port"] in {port["port"] for port in found["Service", backend["name"]]["spec"]["ports"]}


def test_routes_follow_a_suffix_of_the_services(tmp_path: Path) -> None:
    kubernetes.render(make_context(kubernetes=CANARY), tmp_path)
    overlay = tmp_path / "k8s" / "mine"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text("resources:\n  - ../kserve\nnameSuffix: -eu\n")
    found = by_name(kustomize(overlay))
    backends = {ref["name"] for rule in found["HTTPRoute", "digits-eu"]["spec"]["rules"] for ref in rule["backendRefs"]}
    assert backends == {"digits-server-eu", "digits-canary-server-eu"}
    assert {name for kind, name in found if kind == "Service"} > backends
    assert found["InferenceService", "digits-eu"]["spec"]["predictor"]["model"]["runtime"] == "demo-eu"


def test_nothing_of_a_canary_stays_when_it_is_left_out(tmp_path: Path) -> None:
    kubernetes.render(make_context(kubernetes=CANARY), tmp_path)
    kubernetes.render(make_context(), tmp_path)
    names = {path.name for path in (tmp_path / "k8s" / "kserve").rglob("*") if "canary" in path.name or "route" in path.name}
    assert not names


def test_each_service_reads_its_model_from_the_bucket(tmp_path: Path) -> None:
    settings = {"storage_uri": "s3://bucket/models", "namespace": "ml"}
    kubernetes.render(make_context(kubernetes=settings), tmp_path)
    found = by_name(kustomize(tmp_path / "k8s" / "kserve"))
    uris = [o["spec"]["predictor"]["model"]["storageUri"] for (kind, _), o in found.items() if kind == "InferenceService"]
    assert sorted(uris) == ["s3://bucket/models/digits", "s3://bucket/models/minilm"]
    assert {o["metadata"]["namespace"] for o in found.values()} == {"ml"}


def test_there_is_no_trace_of_monitoring_when_it_is_off(plain: RenderContext, tmp_path: Path) -> None:
    kubernetes.render(plain, tmp_path)
    runtime = by_name(kustomize(tmp_path / "k8s" / "kserve"))["ServingRuntime", "demo"]["spec"]
    assert "annotations" not in runtime
    assert not [flag for flag in runtime["containers"][0]["args"] if "monitoring" in flag]

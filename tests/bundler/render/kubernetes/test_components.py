"""components/: each one alone, in pairs and all together, is valid on every version of Kubernetes and has its effect."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bundler.render import kubernetes
from bundler.spec.kubernetes_spec import COMPONENTS, SOURCES
from serving.config.text_proto import parse_text
from tests import requirements
from tests.bundler.render.conftest import make_context
from tests.bundler.render.kubernetes.cluster import (
    ALONE,
    TOGETHER,
    VERSIONS,
    assert_valid,
    by_name,
    kustomize,
    overlay,
    overlay_objects,
    pod_spec,
)
from tests.bundler.render.kubernetes.test_two_bundles import selectors_of

PAIRS = [
    pair
    for pair in itertools.combinations(COMPONENTS, 2)
    if not set(pair) <= set(SOURCES) and ("fill-claim" not in pair or "models-pvc" in pair)
]


def test_all_versions_of_kubernetes_are_checked() -> None:
    assert VERSIONS[0] == "1.28"
    assert len(VERSIONS) >= 10


def test_the_schemas_reject_invalid_objects(tree: Path) -> None:
    found = overlay_objects(tree, "gateway", "service-monitor")
    wrong = {
        "HTTPRoute": lambda spec: spec["rules"][1]["timeouts"].update(request="35 seconds"),
        "ServiceMonitor": lambda spec: spec.pop("endpoints"),
        "Deployment": lambda spec: spec.update(replica=1),
    }
    for kind, spoil in wrong.items():
        document = found[kind, "demo"]
        assert_valid([document], VERSIONS[-1:])
        spoil(document["spec"])
        with pytest.raises(AssertionError, match=f"{kind} demo for Kubernetes"):
            assert_valid([document], VERSIONS[-1:])


@pytest.mark.sample(3)
@pytest.mark.parametrize("chosen", ALONE, ids="+".join)
def test_each_component_is_valid(chosen: tuple[str, ...], tree: Path) -> None:
    assert_valid(list(overlay_objects(tree, *chosen).values()))


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("together", "suffix"),
    [*((names, "") for names in TOGETHER), (TOGETHER[1], "nameSuffix: -eu\n")],
    ids=lambda value: value[-1] if isinstance(value, tuple) else value.strip(),
)
def test_all_components_together_are_valid_and_refer_to_each_other(
    together: tuple[str, ...], suffix: str, tree: Path
) -> None:
    found = overlay_objects(tree, *together, lines=suffix)
    assert_valid(list(found.values()))
    end = "-eu" if suffix else ""
    services = {name for kind, name in found if kind == "Service"}
    assert services == {f"demo{end}", f"demo-canary{end}", f"demo-headless{end}", f"demo-metrics{end}"}
    rules = found["HTTPRoute", f"demo{end}"]["spec"]["rules"]
    assert {ref["name"] for rule in rules for ref in rule["backendRefs"]} == {f"demo{end}", f"demo-canary{end}"}
    for part in ("grpc", "rest"):
        paths = found["Ingress", f"demo-{part}{end}"]["spec"]["rules"][0]["http"]["paths"]
        assert {path["backend"]["service"]["name"] for path in paths} == {f"demo{end}"}
    target = found["HorizontalPodAutoscaler", f"demo{end}"]["spec"]["scaleTargetRef"]
    assert ("Deployment", target["name"]) in found
    for name in (f"demo{end}", f"demo-canary{end}"):
        for volume in pod_spec(found, name)["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in found
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in found


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_each_pair_of_components_is_valid(pair: tuple[str, str], tree: Path) -> None:
    assert_valid(list(overlay_objects(tree, *pair).values()))


@pytest.mark.sample(2)
@pytest.mark.parametrize("chosen", [(), ("gateway", "canary", "gpu", "tls", "models-bucket"), ("models-pvc", "metrics")])
def test_prod_has_the_components_of_the_spec(chosen: tuple[str, ...], tmp_path: Path) -> None:
    kubernetes.render(make_context(kubernetes={"components": chosen}, docker={"tag": "2.19.1-gpu"}), tmp_path)
    prod = kustomize(tmp_path / "k8s" / "overlays" / "prod")
    assert_valid(prod)
    own = by_name(kustomize(overlay(tmp_path / "k8s", chosen)))
    assert {kind for kind, _ in by_name(prod)} == {kind for kind, _ in own}


def test_an_ingress_takes_bodies_of_images_over_grpc_and_rest(tree: Path) -> None:
    """ingress-nginx limits bodies to 1 MB by default, those of gRPC too."""
    found = overlay_objects(tree, "ingress")
    for part in ("grpc", "rest"):
        assert found["Ingress", f"demo-{part}"]["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"] == "64m"


def test_no_two_routes_share_a_host_name_and_a_listener(tree: Path) -> None:
    """A Gateway accepts only one of an HTTPRoute and a GRPCRoute (Gateway API, GEP-1016, "Cross Serving")."""
    found = overlay_objects(tree, "gateway", "canary", "tls")
    assert [kind for kind, _ in found if kind.endswith("Route")] == ["HTTPRoute"]


def test_no_route_from_outside_reaches_a_reload_or_the_metrics(tree: Path) -> None:
    found = overlay_objects(tree, "gateway", "ingress", "canary")
    routed = [match["path"] for rule in found["HTTPRoute", "demo"]["spec"]["rules"] for match in rule["matches"]]
    assert {(path["type"], path["value"]) for path in routed if not path["value"].startswith("/v1/models/")} == {
        ("PathPrefix", "/tensorflow.serving.PredictionService"), ("PathPrefix", "/v1/models"),
        ("Exact", "/tensorflow.serving.ModelService/GetModelStatus"),
    }  # fmt: skip
    paths = {
        path["path"]
        for part in ("grpc", "rest")
        for path in found["Ingress", f"demo-{part}"]["spec"]["rules"][0]["http"]["paths"]
    }
    assert paths == {
        "/tensorflow.serving.PredictionService/",
        "/tensorflow.serving.ModelService/GetModelStatus",
        "/v1/models",
    }


def test_gpu_rollouts_need_no_spare_gpu(tmp_path: Path) -> None:
    kubernetes.render(make_context(kubernetes={"gpus": 2}), tmp_path)
    found = overlay_objects(tmp_path / "k8s", "gpu")
    deployment = found["Deployment", "demo"]["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    limits = pod_spec(found)["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == 2
    assert limits["memory"]


def test_the_autoscaler_looks_at_the_gpus_instead_of_the_cpu(tmp_path: Path) -> None:
    kubernetes.render(make_context(kubernetes={"autoscaling": {"cpu_percent": 55}}), tmp_path)
    tree = tmp_path / "k8s"

    def metrics(*components: str) -> Any:
        found = overlay_objects(tree, *components)
        assert_valid(list(found.values()), VERSIONS[-1:])
        return found["HorizontalPodAutoscaler", "demo"]["spec"]["metrics"]

    (cpu,) = metrics("autoscaling")
    assert cpu["resource"]["target"]["averageUtilization"] == 55
    (gpu,) = metrics("autoscaling", "gpu")
    assert gpu["pods"]["metric"]["name"] == "DCGM_FI_DEV_GPU_UTIL"
    own = [{"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "Value", "value": "8"}}}]
    kubernetes.render(make_context(kubernetes={"autoscaling": {"metrics": own}}), tmp_path)
    assert metrics("autoscaling", "gpu") == own
    assert not (tree / "components" / "gpu" / "autoscaling.yaml").exists()


def test_a_headless_service_lists_the_ready_pods_of_the_base(tree: Path) -> None:
    found = overlay_objects(tree, "headless", "canary")
    headless, service = (found["Service", name]["spec"] for name in ("demo-headless", "demo"))
    assert headless["clusterIP"] == "None"
    assert headless["selector"] == service["selector"]
    assert headless["ports"] == service["ports"]
    assert "publishNotReadyAddresses" not in headless


def test_prometheus_has_its_namespace_its_labels_and_its_interval(tmp_path: Path) -> None:
    monitor = {"labels": {"release": "prometheus"}, "interval": "1m"}
    kubernetes.render(make_context(kubernetes={"prometheus_namespace": "observability", "service_monitor": monitor}), tmp_path)
    found = overlay_objects(tmp_path / "k8s", "network-policy", "service-monitor")
    assert_valid(list(found.values()), VERSIONS[-1:])
    peers = [peer for rule in found["NetworkPolicy", "demo"]["spec"]["ingress"] for peer in rule["from"]]
    assert {"kubernetes.io/metadata.name": "observability"} in [
        peer["namespaceSelector"]["matchLabels"] for peer in peers if "namespaceSelector" in peer
    ]
    scraped = found["ServiceMonitor", "demo"]
    assert scraped["metadata"]["labels"]["release"] == "prometheus"
    assert scraped["spec"]["endpoints"][0]["interval"] == "1m"


@pytest.mark.parametrize("overlay", ["dev", "prod"])
def test_objects_have_the_recommended_labels_and_selectors_only_those_that_stay(overlay: str, tree: Path) -> None:
    for document in kustomize(tree / "overlays" / overlay):
        labels = document["metadata"]["labels"]
        assert labels["app.kubernetes.io/version"] == make_context().version_label
        assert labels["app.kubernetes.io/managed-by"] == "tfbundle"
        for selector in selectors_of(document.get("spec", {})):
            assert not {"app.kubernetes.io/version", "app.kubernetes.io/managed-by"} & selector.keys()


def test_pods_are_spread_over_zones_and_nodes(tree: Path) -> None:
    spread = pod_spec(overlay_objects(tree, "topology-spread"))["topologySpreadConstraints"]
    assert [rule["topologyKey"] for rule in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]


@pytest.mark.parametrize("components", [(), ("canary",)])
def test_the_monitor_finds_one_service_with_all_pods(components: tuple[str, ...], tree: Path) -> None:
    found = overlay_objects(tree, *components, "service-monitor")
    wanted = found["ServiceMonitor", "demo"]["spec"]["selector"]["matchLabels"].items()
    services = [o for (kind, _), o in found.items() if kind == "Service" and wanted <= o["metadata"]["labels"].items()]
    assert [service["metadata"]["name"] for service in services] == ["demo-metrics"]
    selector = services[0]["spec"]["selector"].items()
    for (kind, _), document in found.items():
        if kind == "Deployment":
            assert selector <= document["spec"]["template"]["metadata"]["labels"].items()


def test_the_dev_overlay_applies_its_instance_label_to_a_monitor(tmp_path: Path) -> None:
    kubernetes.render(make_context(), tmp_path)
    dev = tmp_path / "k8s" / "overlays" / "dev" / "kustomization.yaml"
    dev.write_text(dev.read_text() + "\ncomponents:\n  - ../../components/service-monitor\n")
    found = by_name(kustomize(dev.parent))
    selector = found["ServiceMonitor", "demo-dev"]["spec"]["selector"]["matchLabels"]
    assert selector.items() <= found["Service", "demo-metrics-dev"]["metadata"]["labels"].items()
    assert selector["app.kubernetes.io/instance"] == "demo-dev"


def test_tls_is_configured_from_the_secret(tree: Path) -> None:
    found = overlay_objects(tree, "ingress", "tls")
    spec = pod_spec(found)
    assert "--ssl_config_file=/etc/tf-serving-tls/ssl.config" in spec["containers"][0]["args"]
    assert spec["initContainers"][0]["image"] == spec["containers"][0]["image"]
    assert found["Service", "demo"]["spec"]["ports"][0]["appProtocol"] == "https"
    annotations = found["Ingress", "demo-grpc"]["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/backend-protocol"] == "GRPCS"


@pytest.mark.parametrize("verify", ["false", "true"])
def test_the_script_writes_an_ssl_config_that_the_server_parses(verify: str, tmp_path: Path) -> None:
    bash = requirements.bash()
    pem = {name: f"-----BEGIN {name}-----\nAb/+=\r\nlast line without an end" for name in ("tls.key", "tls.crt", "ca.crt")}
    for name, text in pem.items():
        (tmp_path / name).write_bytes(text.encode())
    script = kubernetes.TREE / "components" / "tls" / "ssl-config.sh"
    target = tmp_path / "ssl.config"
    command = [bash, str(script), str(tmp_path), str(target)]
    subprocess.run(command, env={"CLIENT_VERIFY": verify, "PATH": "/usr/bin:/bin"}, check=True)
    config = parse_text("SSLConfig", target.read_text())
    expected = {name: text.replace("\r", "") + "\n" for name, text in pem.items()}
    assert (config.server_key, config.server_cert) == (expected["tls.key"], expected["tls.crt"])
    assert config.client_verify is (verify == "true")
    assert config.custom_ca == (expected["ca.crt"] if verify == "true" else "")
    assert target.stat().st_mode & 0o077 == 0


def test_the_script_reports_what_the_secret_lacks(tmp_path: Path) -> None:
    bash = requirements.bash()
    (tmp_path / "tls.key").write_text("x\n")
    script = kubernetes.TREE / "components" / "tls" / "ssl-config.sh"
    done = subprocess.run([bash, str(script), str(tmp_path), str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 1
    assert "the secret has no tls.crt" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"components": ["models-pvc", "models-bucket"]}, "choose one of them"),
        ({"components": ["nope"]}, "nope"),
        ({"host": "no_host"}, "host"),
        ({"storage_uri": "ftp://x"}, "storage_uri"),
        ({"gateway": "a/b/c"}, "gateway"),
    ],
)
def test_invalid_settings_are_rejected(settings: dict[str, Any], expected: str) -> None:
    from bundler.errors import SpecError

    with pytest.raises(SpecError, match=expected):
        make_context(kubernetes=settings)

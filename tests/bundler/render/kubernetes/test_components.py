"""components/: every one alone, in pairs and all together, is valid on every Kubernetes and does what it says."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bundler.render import RenderContext, RenderedModel, kubernetes, tf_serving
from bundler.render.kubernetes import canary
from bundler.spec.bundle_spec import COMPONENTS, BundleSpec
from serving.config.model_server import ModelServerConfig, Specific, parse_text
from tests.bundler.render.conftest import MIB, make_context
from tests.bundler.render.kubernetes.cluster import VERSIONS, by_name, check, kustomize, overlay

SOURCES = ("models-pvc", "models-volume", "models-bucket")
OTHERS = tuple(name for name in COMPONENTS if name not in SOURCES)
TOGETHER = [OTHERS, *((*OTHERS, source) for source in SOURCES)]
PAIRS = [pair for pair in itertools.combinations(COMPONENTS, 2) if not set(pair) <= set(SOURCES)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """k8s/ of a bundle with two models, labels and batching, that nothing else is written to."""
    folder = tmp_path_factory.mktemp("bundle")
    labels = {"digits": {"stable": 1, "canary": 3}}
    kubernetes.render(make_context(serving={"labels": labels, "batching": True}), folder)
    return folder / "k8s"


def objects(tree: Path, *components: str, lines: str = "") -> dict[tuple[str, str], Any]:
    name = "-".join(components) or "none"
    return by_name(kustomize(overlay(tree, components, name=name[:200], lines=lines)))


def pod(found: dict[tuple[str, str], Any], name: str = "demo") -> Any:
    return found["Deployment", name]["spec"]["template"]["spec"]


def test_the_versions_of_kubernetes() -> None:
    assert VERSIONS[0] == "1.28"
    assert len(VERSIONS) >= 10


def test_the_schemas_know_what_is_wrong(tree: Path) -> None:
    found = objects(tree, "gateway", "service-monitor")
    wrong = {
        "GRPCRoute": lambda spec: spec["rules"][0]["matches"][0].update(path="/"),
        "HTTPRoute": lambda spec: spec["rules"][0]["timeouts"].update(request="35 seconds"),
        "ServiceMonitor": lambda spec: spec.pop("endpoints"),
        "Deployment": lambda spec: spec.update(replica=1),
    }
    for kind, spoil in wrong.items():
        document = found[kind, "demo"]
        check([document], VERSIONS[-1:])
        spoil(document["spec"])
        with pytest.raises(AssertionError, match=f"{kind} demo for Kubernetes"):
            check([document], VERSIONS[-1:])


@pytest.mark.parametrize("component", COMPONENTS)
def test_one_is_valid(component: str, tree: Path) -> None:
    check(list(objects(tree, component).values()))


@pytest.mark.parametrize(
    ("together", "suffix"),
    [*((names, "") for names in TOGETHER), (TOGETHER[1], "nameSuffix: -eu\n")],
    ids=lambda value: value[-1] if isinstance(value, tuple) else value.strip(),
)
def test_all_together_are_valid_and_find_each_other(
    together: tuple[str, ...], suffix: str, tree: Path
) -> None:
    found = objects(tree, *together, lines=suffix)
    check(list(found.values()))
    end = "-eu" if suffix else ""
    services = {name for kind, name in found if kind == "Service"}
    assert services == {f"demo{end}", f"demo-canary{end}", f"demo-metrics{end}"}
    for kind in ("GRPCRoute", "HTTPRoute"):
        rules = found[kind, f"demo{end}"]["spec"]["rules"]
        assert {ref["name"] for rule in rules for ref in rule["backendRefs"]} == services - {f"demo-metrics{end}"}
    for part in ("grpc", "rest"):
        paths = found["Ingress", f"demo-{part}{end}"]["spec"]["rules"][0]["http"]["paths"]
        assert {path["backend"]["service"]["name"] for path in paths} == {f"demo{end}"}
    target = found["HorizontalPodAutoscaler", f"demo{end}"]["spec"]["scaleTargetRef"]
    assert ("Deployment", target["name"]) in found
    for name in (f"demo{end}", f"demo-canary{end}"):
        for volume in pod(found, name)["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in found
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in found


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_two_are_valid(pair: tuple[str, str], tree: Path) -> None:
    check(list(objects(tree, *pair).values()))


@pytest.mark.parametrize("chosen", [(), ("gateway", "canary", "gpu", "tls", "models-bucket"), ("models-pvc", "metrics")])
def test_the_spec_chooses_what_prod_has(chosen: tuple[str, ...], tmp_path: Path) -> None:
    kubernetes.render(make_context(kubernetes={"components": chosen}), tmp_path)
    prod = kustomize(tmp_path / "k8s" / "overlays" / "prod")
    check(prod)
    own = by_name(kustomize(overlay(tmp_path / "k8s", chosen)))
    assert {kind for kind, _ in by_name(prod)} == {kind for kind, _ in own}


def test_pods_of_the_canary_and_of_the_base_are_told_apart(tree: Path) -> None:
    found = objects(tree, "canary", "disruption-budget")
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
    found = objects(tree, "canary")
    name = "demo" if track == "stable" else "demo-canary"
    (config,) = (o for (kind, n), o in found.items() if kind == "ConfigMap" and n.rsplit("-", 1)[0] == f"{name}-config")
    served = {model.name: model for model in ModelServerConfig.from_text(config["data"]["models.config"]).models}
    version = 1 if track == "stable" else 3
    assert served["digits"].policy == Specific((version,))
    assert served["digits"].labels == {track: version}
    container = pod(found, name)["containers"][0]
    for probe in ("startupProbe", "readinessProbe"):
        command = container[probe]["exec"]["command"]
        assert command[3:] == [f"digits/versions/{version}", "minilm/versions/4"]
    flags = container["args"]
    assert flags.count("--allow_version_labels_for_unavailable_models=true") == 1
    assert "batching.config" in config["data"]


def test_without_labels_the_canary_is_the_newest_and_stable_the_one_before(plain: RenderContext) -> None:
    assert canary.versions(plain, "canary") == {"digits": 3, "minilm": 4}
    assert canary.versions(plain, "stable") == {"digits": 2, "minilm": 4}


def test_without_labels_the_flag_for_them_is_added(tmp_path: Path, plain: RenderContext) -> None:
    kubernetes.render(plain, tmp_path)
    found = objects(tmp_path / "k8s", "canary")
    for name in ("demo", "demo-canary"):
        flags = pod(found, name)["containers"][0]["args"]
        assert flags.count("--allow_version_labels_for_unavailable_models=true") == 1


def test_the_canary_is_the_base_but_for_what_makes_it_one(tree: Path) -> None:
    found = objects(tree, "canary")
    base, other = (found["Deployment", name] for name in ("demo", "demo-canary"))
    own, theirs = other["spec"]["template"]["spec"], base["spec"]["template"]["spec"]
    own["volumes"][0]["configMap"]["name"] = theirs["volumes"][0]["configMap"]["name"]
    own["topologySpreadConstraints"][0]["labelSelector"] = theirs["topologySpreadConstraints"][0]["labelSelector"]
    for probe in ("startupProbe", "readinessProbe"):
        own["containers"][0][probe] = theirs["containers"][0][probe]
    own["containers"][0]["args"] = sorted(own["containers"][0]["args"])
    theirs["containers"][0]["args"] = sorted(theirs["containers"][0]["args"])
    assert own == theirs
    assert other["spec"]["strategy"] == base["spec"]["strategy"]


def test_a_gateway_splits_by_weight_and_by_header(tmp_path: Path) -> None:
    settings = {"canary_percent": 25, "gateway": "infra/public", "host": "models.example.org"}
    kubernetes.render(make_context(kubernetes=settings), tmp_path)
    found = objects(tmp_path / "k8s", "gateway", "canary")
    for kind, port in (("GRPCRoute", 8500), ("HTTPRoute", 8501)):
        spec = found[kind, "demo"]["spec"]
        assert spec["parentRefs"] == [{"name": "public", "namespace": "infra"}]
        assert spec["hostnames"] == ["models.example.org"]
        split, named = spec["rules"]
        shares = {ref["name"]: ref["weight"] for ref in split["backendRefs"]}
        assert shares == {"demo": 75, "demo-canary": 25}
        assert named["matches"][0]["headers"] == [{"name": "x-model-label", "value": "canary"}]
        assert [ref["name"] for ref in named["backendRefs"]] == ["demo-canary"]
        assert {ref["port"] for rule in spec["rules"] for ref in rule["backendRefs"]} == {port}


def test_no_route_from_outside_reaches_a_reload_or_the_metrics(tree: Path) -> None:
    found = objects(tree, "gateway", "ingress", "canary")
    for rule in found["GRPCRoute", "demo"]["spec"]["rules"]:
        for match in rule["matches"]:
            allowed = {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"}
            assert match["method"]["service"] in allowed
            if match["method"]["service"].endswith("ModelService"):
                assert match["method"]["method"] == "GetModelStatus"
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
    for rule in found["HTTPRoute", "demo"]["spec"]["rules"]:
        assert [match["path"]["value"] for match in rule["matches"]] == ["/v1/models"]


def test_policies_let_out_what_a_bucket_needs_and_nothing_else(tree: Path) -> None:
    found = objects(tree, "network-policy", "models-bucket")
    assert found["NetworkPolicy", "demo"]["spec"]["egress"] == []
    anywhere, credentials = found["NetworkPolicy", "demo-bucket"]["spec"]["egress"]
    assert {port["port"] for port in anywhere["ports"]} == {53, 443}
    assert all(peer["ipBlock"]["cidr"].startswith("169.254.") for peer in credentials["to"])


def test_gpus_and_a_rollout_that_needs_no_spare_one(tmp_path: Path) -> None:
    kubernetes.render(make_context(kubernetes={"gpus": 2}), tmp_path)
    found = objects(tmp_path / "k8s", "gpu")
    deployment = found["Deployment", "demo"]["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    limits = pod(found)["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == 2
    assert limits["memory"]


def test_zones_are_added_to_nodes(tree: Path) -> None:
    spread = pod(objects(tree, "topology-spread"))["topologySpreadConstraints"]
    assert [rule["topologyKey"] for rule in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]


@pytest.mark.parametrize("components", [(), ("canary",)])
def test_the_monitor_finds_one_service_with_all_pods(components: tuple[str, ...], tree: Path) -> None:
    found = objects(tree, *components, "service-monitor")
    wanted = found["ServiceMonitor", "demo"]["spec"]["selector"]["matchLabels"].items()
    services = [o for (kind, _), o in found.items() if kind == "Service" and wanted <= o["metadata"]["labels"].items()]
    assert [service["metadata"]["name"] for service in services] == ["demo-metrics"]
    selector = services[0]["spec"]["selector"].items()
    for (kind, _), document in found.items():
        if kind == "Deployment":
            assert selector <= document["spec"]["template"]["metadata"]["labels"].items()


def test_the_dev_overlay_carries_its_instance_to_a_monitor(tmp_path: Path) -> None:
    kubernetes.render(make_context(), tmp_path)
    dev = tmp_path / "k8s" / "overlays" / "dev" / "kustomization.yaml"
    dev.write_text(dev.read_text() + "\ncomponents:\n  - ../../components/service-monitor\n")
    found = by_name(kustomize(dev.parent))
    selector = found["ServiceMonitor", "demo-dev"]["spec"]["selector"]["matchLabels"]
    assert selector.items() <= found["Service", "demo-metrics-dev"]["metadata"]["labels"].items()
    assert selector["app.kubernetes.io/instance"] == "demo-dev"


def test_models_from_elsewhere_run_in_the_plain_image(tree: Path) -> None:
    for source in SOURCES:
        container = pod(objects(tree, source))["containers"][0]
        assert container["image"] == "tensorflow/serving:2.19.1"
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        assert mounts["models"]["mountPath"] == tf_serving.MODELS_DIR
        assert mounts["models"]["readOnly"] is True


def test_a_bucket_gives_the_served_versions_and_no_others(tmp_path: Path) -> None:
    labels = {"digits": {"stable": 1, "canary": 3}}
    settings = {"storage_uri": "gs://bucket/of/models/"}
    kubernetes.render(make_context(serving={"labels": labels}, kubernetes=settings), tmp_path)
    (init,) = pod(objects(tmp_path / "k8s", "models-bucket"))["initContainers"]
    included = [arg for arg in init["args"] if arg.startswith("--include=")]
    assert included == [f"--include=/{path}/**" for path in ("digits/1", "digits/3", "minilm/4")]
    remote = ":gcs,env_auth=true,bucket_policy_only=true:bucket/of/models"
    assert init["args"][-2:] == [remote, tf_serving.MODELS_DIR]


def test_an_image_volume_and_a_claim_are_of_the_bundle(tmp_path: Path) -> None:
    big = RenderedModel("big", (1, 2), 3 * 2**30)
    kubernetes.render(RenderContext("big", BundleSpec(), (big,)), tmp_path)
    volume = pod(objects(tmp_path / "k8s", "models-volume"), "big")["volumes"][-1]
    assert volume["image"]["reference"] == "big-models:2"
    claim = objects(tmp_path / "k8s", "models-pvc")["PersistentVolumeClaim", "big-models"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "12Gi"


def test_tls_is_made_from_the_secret(tree: Path) -> None:
    found = objects(tree, "ingress", "tls")
    spec = pod(found)
    assert "--ssl_config_file=/etc/tf-serving-tls/ssl.config" in spec["containers"][0]["args"]
    assert spec["initContainers"][0]["image"] == spec["containers"][0]["image"]
    assert found["Service", "demo"]["spec"]["ports"][0]["appProtocol"] == "https"
    annotations = found["Ingress", "demo-grpc"]["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/backend-protocol"] == "GRPCS"


@pytest.mark.parametrize("verify", ["false", "true"])
def test_the_script_writes_an_ssl_config_that_the_server_parses(verify: str, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash to run the script with")
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


def test_the_script_says_what_a_secret_lacks(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash to run the script with")
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
def test_settings_that_make_no_sense(settings: dict[str, Any], expected: str) -> None:
    from bundler.errors import SpecError

    with pytest.raises(SpecError, match=expected):
        make_context(kubernetes=settings)


def test_a_large_model_has_room_in_the_copy() -> None:
    context = RenderContext("big", BundleSpec(), (RenderedModel("big", (1,), 100 * MIB),))
    from bundler.render.kubernetes.sizes import copy_size

    assert copy_size(context) == "256Mi"

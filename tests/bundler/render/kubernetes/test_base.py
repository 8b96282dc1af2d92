"""k8s/: the tree renders as shipped and for a bundle, every object is valid, and pods start, drain and end as described."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bundler.errors import SpecError
from bundler.render import RenderContext, RenderedModel, dns_label, dns_labels, kubernetes, tf_serving
from bundler.render.files import read_yaml
from bundler.spec.bundle_spec import BundleSpec
from tests.bundler.render.conftest import MIB, make_context
from tests.bundler.render.kubernetes import cluster

OVERLAYS = ("dev", "prod")
EXAMPLE = RenderContext("digits", BundleSpec(), (RenderedModel("digits", (1,), MIB),))

Objects = dict[str, Any]


def kustomize(folder: Path) -> Objects:
    """Return the objects of an overlay by kind; fail if a kind occurs twice."""
    documents = cluster.kustomize(folder)
    kinds = [document["kind"] for document in documents]
    assert len(set(kinds)) == len(kinds)
    return dict(zip(kinds, documents, strict=True))


def pod_of(objects: Objects) -> Any:
    return objects["Deployment"]["spec"]["template"]["spec"]


def container_of(objects: Objects) -> Any:
    (container,) = pod_of(objects)["containers"]
    return container


@pytest.fixture(params=["shipped", "everything", "plain"])
def tree(
    request: pytest.FixtureRequest, context: RenderContext, plain: RenderContext, tmp_path: Path
) -> tuple[RenderContext, Path]:
    """The shipped tree, a tree with every setting in use, and one with the fewest files."""
    if request.param == "shipped":
        return EXAMPLE, kubernetes.TREE
    case = context if request.param == "everything" else plain
    kubernetes.render(case, tmp_path)
    return case, tmp_path / "k8s"


@pytest.fixture
def rendered(context: RenderContext, tmp_path: Path) -> Path:
    kubernetes.render(context, tmp_path)
    return tmp_path / "k8s"


def test_the_shipped_tree_equals_the_rendered_example(tmp_path: Path) -> None:
    """No comment or setting is lost when YAML is parsed and written, and the shipped values are correct."""
    written = kubernetes.render(EXAMPLE, tmp_path)
    relative = {path.relative_to(tmp_path / "k8s") for path in written}
    assert relative == {
        p.relative_to(kubernetes.TREE) for p in kubernetes.TREE.rglob("*") if p.is_file()
    }
    for path in relative:
        assert (tmp_path / "k8s" / path).read_text() == (kubernetes.TREE / path).read_text(), path


@pytest.mark.sample(3)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_valid_and_pods_are_restricted(
    tree: tuple[RenderContext, Path], overlay: str
) -> None:
    cluster.assert_valid(cluster.kustomize(tree[1] / "overlays" / overlay))


def test_overlays_have_the_expected_objects(tree: tuple[RenderContext, Path]) -> None:
    base = {"ServiceAccount", "ConfigMap", "Service", "Deployment"}
    assert set(kustomize(tree[1] / "overlays" / "dev")) == base
    prod = kustomize(tree[1] / "overlays" / "prod")
    assert set(prod) == base | {"HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"}
    assert prod["HorizontalPodAutoscaler"]["apiVersion"] == "autoscaling/v2"


@pytest.mark.sample(3)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_match_the_overlays_own_pods_only(
    tree: tuple[RenderContext, Path], overlay: str
) -> None:
    objects = kustomize(tree[1] / "overlays" / overlay)
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["Service"]["spec"]["selector"] == labels
    assert pod_of(objects)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] == labels
    if overlay == "prod":
        assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
        # The policy also covers the canary's pods.
        guarded = {**labels}
        del guarded["app.kubernetes.io/component"]
        assert objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == guarded
    other = kustomize(tree[1] / "overlays" / ("dev" if overlay == "prod" else "prod"))
    assert other["Service"]["spec"]["selector"] != labels
    assert other["Deployment"]["metadata"]["name"] != objects["Deployment"]["metadata"]["name"]


@pytest.mark.sample(3)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_references_between_objects_are_consistent(tree: tuple[RenderContext, Path], overlay: str) -> None:
    objects = kustomize(tree[1] / "overlays" / overlay)
    pod = pod_of(objects)
    assert pod["volumes"][0]["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]
    assert re.search(r"-[a-z0-9]{10}$", objects["ConfigMap"]["metadata"]["name"])
    assert pod["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]
    ports = {port["name"]: port["containerPort"] for port in container_of(objects)["ports"]}
    assert {port["targetPort"] for port in objects["Service"]["spec"]["ports"]} == set(ports)
    if overlay == "prod":
        target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
        assert target["name"] == objects["Deployment"]["metadata"]["name"]
        allowed = {
            port["port"]
            for rule in objects["NetworkPolicy"]["spec"]["ingress"]
            for port in rule["ports"]
        }
        assert allowed <= set(ports)


@pytest.mark.sample(3)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_server_finds_its_files_and_flags(tree: tuple[RenderContext, Path], overlay: str) -> None:
    case, folder = tree
    objects = kustomize(folder / "overlays" / overlay)
    container = container_of(objects)
    age = "--grpc_channel_arguments=grpc.max_connection_age_ms=10000"
    assert tuple(container["args"]) == (*tf_serving.server_flags(case), age)
    mounted = {"model-state.sh", *tf_serving.config_files(case)}
    assert set(objects["ConfigMap"]["data"]) == mounted
    assert (
        objects["ConfigMap"]["data"]["models.config"] == tf_serving.config_files(case)["models.config"]
    )
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["config"] == tf_serving.CONFIG_DIR
    assert container["startupProbe"]["exec"]["command"][1] == f"{mounts['config']}/model-state.sh"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_read_the_state_of_every_model(rendered: Path, overlay: str) -> None:
    container = container_of(kustomize(rendered / "overlays" / overlay))
    expected = [
        "bash",
        "/etc/tf-serving/model-state.sh",
        "8501",
        "digits/versions/1",
        "digits/versions/3",
        "minilm",
    ]
    assert container["startupProbe"]["exec"]["command"] == expected
    assert container["readinessProbe"]["exec"]["command"] == expected
    assert container["livenessProbe"]["httpGet"] == {"path": "/v1/models/digits", "port": "rest"}
    startup = container["startupProbe"]
    # The server retries a failing load 5 times, one minute apart, so it gives up before the probe does.
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_drains_before_it_ends(rendered: Path, overlay: str) -> None:
    """SIGTERM reaches a server that is not PID 1, after its connections are closed and the last requests had time to end."""
    objects = kustomize(rendered / "overlays" / overlay)
    pod = pod_of(objects)
    command = container_of(objects)["lifecycle"]["preStop"]["exec"]["command"]
    assert command[0] == "sleep"
    (age,) = (flag for flag in container_of(objects)["args"] if "max_connection_age_ms" in flag)
    connections = 1.1 * int(age.rpartition("=")[2]) / 1000  # gRFC A9: varies by up to 10 %
    assert 5 + connections + 30 <= int(command[1]) < pod["terminationGracePeriodSeconds"]
    assert pod["shareProcessNamespace"] is True


def test_replicas_belong_to_the_autoscaler_in_prod(tmp_path: Path) -> None:
    kubernetes.render(make_context(kubernetes={"replicas": 3, "max_replicas": 7}), tmp_path)
    dev, prod = (kustomize(tmp_path / "k8s" / "overlays" / overlay) for overlay in OVERLAYS)
    assert dev["Deployment"]["spec"]["replicas"] == 1
    assert "replicas" not in prod["Deployment"]["spec"]
    autoscaler = prod["HorizontalPodAutoscaler"]["spec"]
    assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (3, 7)
    assert kustomize(tmp_path / "k8s" / "base")["Deployment"]["spec"]["replicas"] == 3


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "image",
    [
        "registry.example:5000/team/digits:7",
        f"digits@sha256:{'0' * 64}",
        f"ghcr.io/x/y:1@sha256:{'0' * 64}",
    ],
)
def test_the_image_follows_the_spec(image: str, tmp_path: Path) -> None:
    kubernetes.render(make_context(kubernetes={"models_image": image}), tmp_path)
    assert container_of(kustomize(tmp_path / "k8s" / "overlays" / "prod"))["image"] == image


def test_an_image_of_several_models_is_named_after_them(rendered: Path) -> None:
    assert container_of(kustomize(rendered / "overlays" / "dev"))["image"] == "demo:digits-3_minilm-4-2.19.1"


def test_without_the_setting_whoever_applies_the_objects_chooses_the_namespace(rendered: Path) -> None:
    for overlay in OVERLAYS:
        assert not any("namespace" in o["metadata"] for o in kustomize(rendered / "overlays" / overlay).values())


def test_names_namespace_and_ports_follow_the_spec(tmp_path: Path) -> None:
    kubernetes.render(
        make_context(
            kubernetes={"name": "Image_Search", "namespace": "ml"},
            serving={"grpc_port": 9000, "rest_port": 9001, "monitoring_path": "/metrics"},
        ),
        tmp_path,
    )
    prod = kustomize(tmp_path / "k8s" / "overlays" / "prod")
    assert {document["metadata"]["namespace"] for document in prod.values()} == {"ml"}
    names = {kind: document["metadata"]["name"] for kind, document in prod.items()}
    assert names.pop("ConfigMap").startswith("image-search-config-")
    assert set(names.values()) == {"image-search"}
    assert [port["port"] for port in prod["Service"]["spec"]["ports"]] == [9000, 9001]
    assert [port["containerPort"] for port in container_of(prod)["ports"]] == [9000, 9001]
    annotations = prod["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "9001",
        "prometheus.io/path": "/metrics",
    }


def test_rendering_again_changes_nothing_and_keeps_the_users_files(
    rendered: Path, context: RenderContext
) -> None:
    staging = rendered / "overlays" / "staging" / "kustomization.yaml"
    staging.parent.mkdir()
    staging.write_text("resources: [../../base]\nnameSuffix: -staging\n")
    before = {path: path.read_bytes() for path in rendered.rglob("*") if path.is_file()}
    kubernetes.render(context, rendered.parent)
    assert {path: path.read_bytes() for path in rendered.rglob("*") if path.is_file()} == before
    assert kustomize(staging.parent)["Deployment"]["metadata"]["name"] == "demo-staging"


@pytest.mark.slow
def test_files_of_disabled_settings_are_removed(rendered: Path, plain: RenderContext) -> None:
    assert (rendered / "base" / "config" / "batching.config").exists()
    kubernetes.render(plain, rendered.parent)
    files = {path.relative_to(rendered).as_posix() for path in rendered.rglob("*") if path.is_file()}
    assert not files & {"base/config/batching.config", "base/config/monitoring.config"}
    assert not any(name.startswith("components/metrics") for name in files)


def test_nothing_is_written_for_settings_that_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no version 9"):
        kubernetes.render(make_context(serving={"labels": {"digits": {"stable": 9}}}), tmp_path)
    assert not (tmp_path / "k8s").exists()


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("digits", "digits"),
        ("My_Models.v2", "my-models-v2"),
        ("7b", "m-7b"),
        ("___", "bundle"),
        ("x" * 53, "x" * 53),
        ("x" * 54, f"{'x' * 46}-45f316"),
        (f"{'x' * 45}-{'y' * 9}", f"{'x' * 45}-bb421f"),
    ],
)
def test_names_become_dns_labels(name: str, label: str) -> None:
    """They leave room for the suffixes of objects: 63 characters are the most of a Service's name."""
    assert dns_label(name) == label


def test_names_that_would_become_the_same_label_get_hashes() -> None:
    labels = dns_labels(["my_model", "my-model", "other", "x" * 60 + "1", "x" * 60 + "2"])
    assert len(set(labels.values())) == 5
    assert labels["other"] == "other"
    assert all(re.fullmatch(r"my-model-[0-9a-f]{6}", labels[name]) for name in ("my_model", "my-model"))


@pytest.mark.parametrize("size", [MIB, 2**33])
def test_a_rollout_fails_only_after_the_time_that_a_start_may_take(size: int, tmp_path: Path) -> None:
    context = RenderContext("demo", BundleSpec(), (RenderedModel("large", (1,), size),))
    kubernetes.render(context, tmp_path)
    deployment = read_yaml((tmp_path / "k8s" / "base" / "deployment.yaml").read_text())["spec"]
    probe = deployment["template"]["spec"]["containers"][0]["startupProbe"]
    assert deployment["progressDeadlineSeconds"] >= probe["periodSeconds"] * probe["failureThreshold"] + 590


def test_many_models_get_a_short_image_tag() -> None:
    models = tuple(RenderedModel(f"a-rather-long-model-name-{i}", (1,), MIB) for i in range(9))
    context = RenderContext("demo", BundleSpec(), models)
    assert re.fullmatch(r"9-models-[0-9a-f]{16}", context.models_tag)
    assert context.tag == f"{context.models_tag}-2.19.1"


def image_of(folder: Path, **sections: Any) -> Any:
    """Return the image of the overlay prod of a bundle with these settings."""
    kubernetes.render(make_context(**sections), folder)
    return kustomize(folder / "k8s" / "overlays" / "prod")["Deployment"]["spec"]["template"]["spec"]["containers"][0]["image"]


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "docker", [{"tag": "2.20.0"}, {"digest": "sha256:" + "a" * 64}, {"tag": "2.20.0", "digest": "sha256:" + "b" * 64}], ids=str
)
@pytest.mark.parametrize("image", [None, pytest.param("registry.example.com:5000/team/models", marks=pytest.mark.slow)])
def test_a_new_server_image_is_rolled_out(docker: dict[str, str], image: str | None, tmp_path: Path) -> None:
    settings = {"models_image": image} if image else {}
    old = image_of(tmp_path / "old", kubernetes=settings)
    new = image_of(tmp_path / "new", kubernetes=settings, docker=docker)
    assert old == f"{image or 'demo'}:digits-3_minilm-4-2.19.1"
    assert new != old and new.rpartition(":")[0] == old.rpartition(":")[0]


@pytest.mark.parametrize("image", ["registry.example.com:5000/models:7", f"models@sha256:{'c' * 64}"])
def test_an_image_with_a_tag_or_digest_keeps_it(image: str, tmp_path: Path) -> None:
    assert image_of(tmp_path, kubernetes={"models_image": image}) == image


def test_every_file_names_tfbundle_as_its_author(rendered: Path) -> None:
    for path in (*rendered.rglob("*.yaml"), *rendered.rglob("*.tpl")):
        assert "Written by tfbundle" in path.read_text().splitlines()[0], path

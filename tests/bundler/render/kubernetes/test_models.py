"""components/models-*: models from a claim, an image volume or a bucket, with the plain server image."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bundler.render import RenderContext, RenderedModel, kubernetes, tf_serving
from bundler.render.kubernetes import models
from bundler.render.kubernetes.scripts import FILL_SCRIPT
from bundler.render.kubernetes.tree import TREE
from bundler.spec.bundle_spec import BundleSpec
from bundler.spec.kubernetes_spec import SOURCES
from tests import requirements
from tests.bundler.render.conftest import make_context
from tests.bundler.render.kubernetes.cluster import assert_valid, kustomize, overlay, overlay_objects, pod_spec


def test_policies_allow_only_the_egress_that_a_bucket_needs(tree: Path) -> None:
    found = overlay_objects(tree, "network-policy", "models-bucket")
    assert found["NetworkPolicy", "demo"]["spec"]["egress"] == []
    anywhere, credentials = found["NetworkPolicy", "demo-bucket"]["spec"]["egress"]
    assert {port["port"] for port in anywhere["ports"]} == {53, 443}
    assert all(peer["ipBlock"]["cidr"].startswith("169.254.") for peer in credentials["to"])


def test_models_outside_the_image_are_served_by_the_plain_image(tree: Path) -> None:
    for source in SOURCES:
        container = pod_spec(overlay_objects(tree, source))["containers"][0]
        assert container["image"] == "tensorflow/serving:2.19.1"
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        assert mounts["models"]["mountPath"] == tf_serving.MODELS_DIR
        assert mounts["models"]["readOnly"] is True


def test_only_served_versions_are_copied_from_a_bucket(tmp_path: Path) -> None:
    labels = {"digits": {"stable": 1, "canary": 3}}
    settings = {"storage_uri": "gs://bucket/of/models/"}
    kubernetes.render(make_context(serving={"labels": labels}, kubernetes=settings), tmp_path)
    (init,) = pod_spec(overlay_objects(tmp_path / "k8s", "models-bucket"))["initContainers"]
    included = [arg for arg in init["args"] if arg.startswith("--include=")]
    assert included == [f"--include=/{path}/**" for path in ("digits/1", "digits/3", "minilm/4")]
    remote = ":gcs,env_auth=true,bucket_policy_only=true:bucket/of/models"
    assert init["args"][-2:] == [remote, tf_serving.MODELS_DIR]


def test_image_volume_and_claim_have_the_bundles_name_and_size(tmp_path: Path) -> None:
    big = RenderedModel("big", (1, 2), 3 * 2**30)
    kubernetes.render(RenderContext("big", BundleSpec(), (big,)), tmp_path)
    volume = pod_spec(overlay_objects(tmp_path / "k8s", "models-volume"), "big")["volumes"][-1]
    assert volume["image"]["reference"] == "big-models:2"
    claim = overlay_objects(tmp_path / "k8s", "models-pvc")["PersistentVolumeClaim", "big-models"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "12Gi"


@pytest.mark.parametrize(
    ("endpoint", "port"), [("http://minio.storage:9000", 9000), ("https://store", 443), ("http://store", 80)]
)
def test_a_store_of_ones_own_is_read_at_its_address_and_port(endpoint: str, port: int, tmp_path: Path) -> None:
    settings = {"storage_uri": "s3://models/digits", "storage_endpoint": endpoint, "copy_image": "mirror/rclone:1"}
    kubernetes.render(make_context(kubernetes=settings), tmp_path)
    found = overlay_objects(tmp_path / "k8s", "models-bucket")
    (init,) = pod_spec(found)["initContainers"]
    assert init["image"] == "mirror/rclone:1"
    assert init["args"][-2] == f':s3,env_auth=true,provider=Other,endpoint="{endpoint}":models/digits'
    (rule,) = found["NetworkPolicy", "demo-bucket"]["spec"]["egress"]  # no address of a cloud's credentials
    assert [(rule["port"], rule["protocol"]) for rule in rule["ports"]] == [(53, "UDP"), (53, "TCP"), (port, "TCP")]


PINNED = f"registry.example.com:5000/team/models:3@sha256:{'a' * 64}"


def test_the_models_are_pulled_from_a_registry_by_their_digest(tmp_path: Path) -> None:
    settings = {"volume_image": PINNED, "pull_image": "mirror/oras:1", "pod": {"image_pull_secrets": ["first", "second"]}}
    kubernetes.render(make_context(kubernetes=settings), tmp_path)
    found = overlay_objects(tmp_path / "k8s", "network-policy", "models-oci")
    assert_valid(list(found.values()))
    pod = pod_spec(found)
    (init,) = pod["initContainers"]
    assert (init["image"], init["args"]) == ("mirror/oras:1", [PINNED, "digits/2", "digits/3", "minilm/4"])
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in init["volumeMounts"]}
    environment = {variable["name"]: variable["value"] for variable in init["env"]}
    assert mounts[environment["TMPDIR"]] == "models"  # the pod's root is read-only, and its /tmp is small
    registry = volumes[mounts[environment["DOCKER_CONFIG"]]]["secret"]
    assert registry == {"secretName": "first", "items": [{"key": ".dockerconfigjson", "path": "config.json"}]}
    # ORAS unpacks models/<model>/<version> below --output; the server sees that as /models.
    (served,) = (mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "models")
    assert (served["mountPath"], served["subPath"], served["readOnly"]) == (tf_serving.MODELS_DIR, "models", True)
    (rule,) = found["NetworkPolicy", "demo-registry"]["spec"]["egress"]
    assert [port["port"] for port in rule["ports"]] == [53, 53, 5000]


def test_a_volume_for_pulled_models_holds_all_versions_and_their_layers(tmp_path: Path) -> None:
    big = RenderedModel("big", (1, 2), 3 * 2**30)
    kubernetes.render(RenderContext("big", BundleSpec(), (big,)), tmp_path)
    pod = pod_spec(overlay_objects(tmp_path / "k8s", "models-oci"), "big")
    assert [volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if volume["name"] == "models"] == ["12288Mi"]
    assert pod["initContainers"][0]["resources"]["requests"]["ephemeral-storage"] == "12288Mi"
    assert [mount["name"] for mount in pod["initContainers"][0]["volumeMounts"]] == ["models"]  # no Secret is set


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("settings", "reference"),
    [
        ({"storage_uri": f"oci+native://{PINNED}"}, PINNED),
        ({"storage_uri": "oci://registry.example.com/models"}, "registry.example.com/models:digits-3_minilm-4"),
        ({"storage_uri": "oci://registry.example.com/models", "volume_image": PINNED}, PINNED),
        ({"storage_uri": "s3://bucket"}, "demo-models:digits-3_minilm-4"),
    ],
)
def test_image_volume_and_init_container_name_the_image_that_kserve_reads(
    settings: dict[str, Any], reference: str, tmp_path: Path
) -> None:
    context = make_context(kubernetes=settings)
    kubernetes.render(context, tmp_path)
    pod = pod_spec(overlay_objects(tmp_path / "k8s", "models-volume"))
    assert pod["volumes"][-1]["image"]["reference"] == reference
    (mount,) = (mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "models")
    assert mount["subPath"] == "models"
    assert models.pull_arguments(context)[0] == reference


@pytest.mark.parametrize(
    ("pulled", "code", "message"),
    [
        ("mkdir -p digits/1 digits/2", 0, ""),
        ("mkdir -p digits/1", 1, "h.io/x:1 has no models/digits/2 that ORAS can unpack"),
        ("mkdir -p digits/1; touch digits/2", 1, "has no models/digits/2"),  # a layer without the annotation stays packed
        ("exit 3", 3, ""),
    ],
)
def test_pods_start_only_with_all_versions_that_they_serve(pulled: str, code: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    oras = tmp_path / "oras"
    oras.write_text(f'#!/bin/sh\n[ "$*" = "pull --no-tty --output={tmp_path} h.io/x:1" ] || exit 9\ncd models\n{pulled}\n')
    oras.chmod(0o755)
    document = YAML(typ="safe").load(TREE / "components/models-oci/init.yaml")
    (init,) = document["spec"]["template"]["spec"]["initContainers"]
    command = [*(word.replace("/bundle", str(tmp_path)) for word in init["command"]), "h.io/x:1", "digits/1", "digits/2"]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr


def test_the_bundles_own_claim_has_the_settings(tmp_path: Path) -> None:
    settings = {"storage_class": "nfs", "access_mode": "ReadWriteOnce", "size": "5Gi", "keep": False}
    kubernetes.render(make_context(), tmp_path)
    claim = overlay_objects(tmp_path / "k8s", "models-pvc")["PersistentVolumeClaim", "demo-models"]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    kubernetes.render(make_context(kubernetes={"claim": settings}), tmp_path)
    claim = overlay_objects(tmp_path / "k8s", "models-pvc")["PersistentVolumeClaim", "demo-models"]
    assert "annotations" not in claim["metadata"]
    spec = claim["spec"]
    assert (spec["storageClassName"], spec["accessModes"], spec["resources"]["requests"]) == (
        "nfs", ["ReadWriteOnce"], {"storage": "5Gi"},
    )  # fmt: skip


def test_an_existing_claim_is_mounted_and_not_changed(tmp_path: Path) -> None:
    kubernetes.render(make_context(), tmp_path)
    kubernetes.render(make_context(kubernetes={"claim": {"existing": "shared"}}), tmp_path)
    found = overlay_objects(tmp_path / "k8s", "models-pvc", "fill-claim")
    assert not [name for kind, name in found if kind == "PersistentVolumeClaim"]
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for o in found.values()
        if o["kind"] in ("Deployment", "Job")
        for volume in o["spec"]["template"]["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    assert claims == ["shared", "shared"]


def test_the_job_that_fills_the_claim_runs_the_image_with_the_models(tree: Path) -> None:
    found = overlay_objects(tree, "models-pvc", "fill-claim")
    assert_valid(list(found.values()))
    (job,) = (o for (kind, _), o in found.items() if kind == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == make_context().image
    assert pod_spec(found)["containers"][0]["image"] == "tensorflow/serving:2.19.1"
    service = found["Service", "demo"]["spec"]["selector"]
    assert not service.items() <= job["spec"]["template"]["metadata"]["labels"].items()


def test_each_image_has_a_job_of_its_own_with_a_name_that_fits() -> None:
    names = {models.fill_name("a" * 53, image) for image in ("digits:1", "digits:2")} | {models.fill_name("a" * 52, "digits:1")}
    assert len(names) == 3
    assert max(map(len, names)) <= 63 - len("-dev")


def fill(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [requirements.bash(), str(TREE / FILL_SCRIPT), str(source), str(target)]
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})


def files_of(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_versions_are_copied_once_and_completely(tmp_path: Path) -> None:
    source, claim = tmp_path / "image", tmp_path / "claim"
    claim.mkdir()
    for path in ("digits/1/saved_model.pb", "digits/2/variables/data", "my model/7/saved_model.pb"):
        (source / path).parent.mkdir(parents=True)
        (source / path).write_text(path)
    left_over = claim / "digits" / "incomplete-2" / "half"  # of a Job that was killed
    left_over.parent.mkdir(parents=True)
    left_over.write_text("half")
    done = fill(source, claim)
    assert done.returncode == 0, done.stderr
    assert files_of(claim) == files_of(source)
    (claim / "digits/1/saved_model.pb").write_text("served")
    again = fill(source, claim)
    assert "digits/1 is there already" in again.stdout
    assert (claim / "digits/1/saved_model.pb").read_text() == "served"


def test_a_full_claim_leaves_no_version(tmp_path: Path) -> None:
    source, claim = tmp_path / "image", tmp_path / "claim"
    (source / "digits" / "1").mkdir(parents=True)
    (source / "digits" / "1" / "saved_model.pb").write_bytes(bytes(100_000))
    claim.mkdir()
    script = f"ulimit -f 10; exec bash {TREE / FILL_SCRIPT} {source} {claim}"
    done = subprocess.run([requirements.bash(), "-c", script], capture_output=True, text=True)
    assert done.returncode != 0
    assert not (claim / "digits" / "1").exists()


@pytest.mark.parametrize(("arguments", "message"), [([], "usage:"), (["/nowhere", "/tmp"], "has no <model>/<version>/")])
def test_the_script_says_what_is_wrong(arguments: list[str], message: str) -> None:
    command = [requirements.bash(), str(TREE / FILL_SCRIPT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (1, 2)
    assert message in done.stderr


def test_an_overlays_images_entry_takes_effect_as_the_base_says(tree: Path) -> None:
    """The name in an overlay is the `newName` of the base, as its comment says; the base's own `bundle` is gone by then."""
    entry = "images:\n  - name: demo\n    newName: registry.example.com/demo\n    newTag: '5'\n"
    assert pod_spec(overlay_objects(tree, lines=entry))["containers"][0]["image"] == "registry.example.com/demo:5"
    assert "whose `name` is the `newName` below" in (tree / "base" / "kustomization.yaml").read_text().replace("\n# ", " ")


@pytest.mark.parametrize("source", SOURCES)
def test_the_order_of_components_that_patch_the_image_does_not_matter(source: Any, tree: Path) -> None:
    one, two = (
        kustomize(overlay(tree, names, name=f"order-{source}-{index}"))
        for index, names in enumerate((("tls", source), (source, "tls")))
    )
    images = [{c["image"] for o in found if o["kind"] == "Deployment" for c in o["spec"]["template"]["spec"]["containers"]}
              for found in (one, two)]  # fmt: skip
    assert images[0] == images[1] == {"tensorflow/serving:2.19.1"}

"""components/models-*: models from a claim, an image volume or a bucket, with the plain server image."""

from __future__ import annotations

from pathlib import Path

from bundler.render import RenderContext, RenderedModel, kubernetes, tf_serving
from bundler.spec.bundle_spec import BundleSpec
from tests.bundler.render.conftest import make_context
from tests.bundler.render.kubernetes.cluster import overlay_objects, pod_spec

SOURCES = ("models-pvc", "models-volume", "models-bucket")


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

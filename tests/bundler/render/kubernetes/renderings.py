"""What the renderers write, in the forms that users apply: the input of the linters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bundler.render import docker, kubernetes
from tests.bundler.render.conftest import make_context
from tests.bundler.render.kubernetes.accepted import SETTLED
from tests.bundler.render.kubernetes.cluster import TOGETHER, Object, kustomize, overlay
from tests.bundler.render.kubernetes.test_chart import helm_objects, switches

Renderings = dict[str, list[Object]]

DIGEST = f"sha256:{'0123456789abcdef' * 4}"


def write_bundle(folder: Path) -> None:
    """Write k8s/ and docker/ of a bundle with two models, labels and batching."""
    labels = {"digits": {"stable": 1, "canary": 3}}
    context = make_context(serving={"labels": labels, "batching": True}, docker={"tag": "2.19.1-gpu"})
    kubernetes.render(context, folder)
    docker.render(context, folder)


def render_settled(folder: Path) -> Renderings:
    """Return the objects of bundles whose settings name a namespace and the digest of every image."""
    found = {}
    images = {
        "models_image": f"registry.example.com/demo:1@{DIGEST}", "copy_image": f"rclone/rclone@{DIGEST}",
        "pull_image": f"ghcr.io/oras-project/oras:v1@{DIGEST}", "volume_image": f"registry.example.com/demo-models:1@{DIGEST}",
    }  # fmt: skip
    for chosen in TOGETHER[1:]:
        settings = {"namespace": "models", "components": chosen, **images}
        context = make_context(docker={"tag": "2.19.1-gpu", "digest": DIGEST}, kubernetes=settings)
        root = folder / chosen[-1]
        kubernetes.render(context, root)
        found[f"{SETTLED}, {chosen[-1]}"] = kustomize(root / "k8s" / "overlays" / "prod")
    found[f"{SETTLED}, kserve"] = kustomize(root / "k8s" / "kserve")
    return found


def render_all(tree: Path) -> Renderings:
    """Return the objects by rendering: kustomize and Helm, with default and all components by source of models, and KServe."""
    found = {"overlays/prod": kustomize(tree / "overlays" / "prod"), "chart": helm_objects(tree)}
    for chosen, name in zip(TOGETHER, ("no source", "claim", "volume", "bucket", "registry"), strict=True):
        found[f"kustomize, all, {name}"] = kustomize(overlay(tree, chosen, name=f"all-{name[:2]}"))
        found[f"helm, all, {name}"] = helm_objects(tree, switches(*chosen))
    found["kserve"] = kustomize(tree / "kserve")
    found["kserve, canary"] = kserve_canary(tree.with_name("kserve-canary"))
    return found


def kserve_canary(folder: Path) -> list[Object]:
    """Return the objects for KServe of a bundle whose components are a canary and a gateway."""
    labels = {"digits": {"stable": 1, "canary": 3}}
    settings = {"components": ["gateway", "canary"], "storage_uri": f"oci+native://registry.example.com/demo:1@{DIGEST}"}
    kubernetes.render(make_context(serving={"labels": labels}, kubernetes=settings), folder)
    return kustomize(folder / "k8s" / "kserve")


def predictors(objects: list[Object]) -> Iterator[Object]:
    """Yield the Deployments that KServe makes of InferenceServices and their runtime, because linters know only Deployments.

    KServe merges the model's settings over those of the runtime's container, appends its arguments, and adds the predictor's
    settings of the pod (source: pkg/controller/v1beta1/inferenceservice/components/predictor.go, utils.MergeRuntimeContainers).
    """
    runtimes = {item["metadata"]["name"]: item["spec"] for item in objects if item["kind"] == "ServingRuntime"}
    for service in (item for item in objects if item["kind"] == "InferenceService"):
        predictor: dict[str, Any] = dict(service["spec"]["predictor"])
        model = dict(predictor.pop("model"))
        runtime = runtimes[model.pop("runtime")]
        (container,) = runtime["containers"]
        own = {key: value for key, value in model.items() if key not in ("modelFormat", "storageUri")}
        merged = {**container, **own, "args": [*container["args"], *model["args"]]}
        pod = {key: value for key, value in predictor.items() if key not in ("minReplicas", "maxReplicas", "labels")}
        name = f"{service['metadata']['name']}-predictor"
        labels = {"app": f"isvc.{name}", **predictor["labels"]}
        yield {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {**service["metadata"], "name": name, "labels": labels},
            "spec": {
                "replicas": predictor["minReplicas"],
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {**pod, "containers": [merged], "volumes": runtime["volumes"]},
                },
            },
        }

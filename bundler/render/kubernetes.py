"""k8s/: the repository's kustomize tree, specialised for a bundle.

The tree is real (`kubectl kustomize k8s/overlays/dev` renders it as it stands) and serves a model `digits`.
Each function below takes one file of it, sets what differs for the bundle, and keeps the rest, comments too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bundler.layout import BundleLayout
from bundler.render import RenderContext, tf_serving
from bundler.render.files import read_yaml, write_files, write_yaml

TREE = Path(__file__).resolve().parents[2] / "k8s"
"""The kustomize tree: beside the packages in the repository and in an installation."""

STATE_SCRIPT = "base/config/model-state.sh"

MIB = 2**20
SERVER_BYTES = 512 * MIB
"""What tensorflow_model_server needs without any model, generously."""

STARTUP_SECONDS = 300
"""Start-up that is always allowed: 5 retries of a failing load, a minute apart (max_num_load_retries)."""

LOAD_BYTES_PER_SECOND = 20 * MIB
"""A slow disk: start-up is allowed that much longer for larger models."""

_INSTANCE = "app.kubernetes.io/instance"
_METRICS = "../../components/metrics"
_OPTIONAL = (
    "base/config/batching.config",
    "base/config/monitoring.config",
    "components/metrics/kustomization.yaml",
    "components/metrics/annotations.yaml",
)
"""Files that stand for some settings only."""

Edit = Callable[[Any], None]


def render(context: RenderContext, folder: Path) -> list[Path]:
    """Write k8s/: base, components, and the overlays dev and prod. Other files there are the user's and stay.

    Raises:
        SpecError: the settings ask for a model, a version or a label that there is not.
    """
    files = {"README.md": _shipped("README.md"), STATE_SCRIPT: _shipped(STATE_SCRIPT)}
    files.update({f"base/config/{name}": text for name, text in tf_serving.config_files(context).items()})
    for path, edit in _edits(context).items():
        document = read_yaml(_shipped(path))
        edit(document)
        files[path] = write_yaml(document)
    return write_files(BundleLayout(folder).k8s_dir, files, owned=_OPTIONAL)


def memory_bytes(context: RenderContext) -> int:
    """Memory that a pod asks for: the server, and of each model the served versions and one more.

    A reload keeps the old version until the new one is up (core/availability_preserving_policy.h). Each interpreter of a
    model.tflite has the weights once more, in the order that its kernels read them.
    """
    served = tf_serving.served_versions(context)
    pools = tf_serving.tflite_pools(context)
    sizes = {model.name: model.size_bytes + pools * model.fast_path_bytes for model in context.models}
    return SERVER_BYTES + sum(sizes[model.name] * (len(served[model.name]) + 1) for model in context.models)


def _shipped(path: str) -> str:
    return (TREE / path).read_text("utf-8")


def _edits(context: RenderContext) -> dict[str, Edit]:
    """File of the tree -> what differs in it for this bundle."""
    named = partial(_named, context)
    edits: dict[str, Edit] = {
        "base/kustomization.yaml": partial(_base, context),
        "base/serviceaccount.yaml": named,
        "base/service.yaml": partial(_service, context),
        "base/deployment.yaml": partial(_deployment, context),
        "components/autoscaling/kustomization.yaml": partial(_patch_targets, context),
        "components/autoscaling/hpa.yaml": partial(_hpa, context),
        "components/disruption-budget/kustomization.yaml": _unchanged,
        "components/disruption-budget/pdb.yaml": named,
        "components/network-policy/kustomization.yaml": _unchanged,
        "components/network-policy/networkpolicy.yaml": named,
        "overlays/dev/kustomization.yaml": partial(_dev, context),
        "overlays/prod/kustomization.yaml": partial(_prod, context),
    }
    if context.spec.serving.monitoring:
        edits["components/metrics/kustomization.yaml"] = partial(_patch_targets, context)
        edits["components/metrics/annotations.yaml"] = partial(_annotations, context)
    return edits


def _unchanged(document: Any) -> None:
    """A file that names nothing of the bundle."""


def _named(context: RenderContext, document: Any) -> None:
    document["metadata"]["name"] = context.objects_name


def _base(context: RenderContext, document: Any) -> None:
    document["labels"][0]["pairs"][_INSTANCE] = context.objects_name
    image = document["images"][0]
    image["newName"], tag, digest = split_image(context.image)
    image["newTag"] = tag
    if digest is not None:
        image["digest"] = digest
    if tag is None:
        del image["newTag"]
    config = document["configMapGenerator"][0]
    config["name"] = _config_name(context)
    names = sorted(("model-state.sh", *tf_serving.config_files(context)))
    config["files"][:] = [f"config/{name}" for name in names]


def _service(context: RenderContext, document: Any) -> None:
    _named(context, document)
    for port, number in zip(document["spec"]["ports"], _ports(context), strict=True):
        port["port"] = number


def _deployment(context: RenderContext, document: Any) -> None:
    _named(context, document)
    document["spec"]["replicas"] = context.spec.kubernetes.replicas
    pod = document["spec"]["template"]["spec"]
    pod["serviceAccountName"] = context.objects_name
    pod["volumes"][0]["configMap"]["name"] = _config_name(context)
    _container(context, pod["containers"][0])


def _container(context: RenderContext, container: Any) -> None:
    container["args"][:] = tf_serving.server_flags(context)
    for port, number in zip(container["ports"], _ports(context), strict=True):
        port["containerPort"] = number
    for probe in ("startupProbe", "readinessProbe"):
        command = container[probe]["exec"]["command"]
        command[2:] = [str(context.spec.serving.rest_port), *tf_serving.state_targets(context)]
    startup = container["startupProbe"]
    startup["failureThreshold"] = math.ceil(startup_seconds(context) / startup["periodSeconds"])
    container["livenessProbe"]["httpGet"]["path"] = f"/v1/models/{context.models[0].name}"
    request, limit = _memory(context)
    container["resources"]["requests"].update(cpu=context.spec.kubernetes.cpu, memory=request)
    container["resources"]["limits"]["memory"] = limit


def startup_seconds(context: RenderContext) -> int:
    """How long the first loading of all models may take."""
    served = tf_serving.served_versions(context)
    size = sum(model.size_bytes * len(served[model.name]) for model in context.models)
    return STARTUP_SECONDS + size // LOAD_BYTES_PER_SECOND


def _hpa(context: RenderContext, document: Any) -> None:
    _named(context, document)
    spec = document["spec"]
    spec["scaleTargetRef"]["name"] = context.objects_name
    spec["minReplicas"] = context.spec.kubernetes.replicas
    spec["maxReplicas"] = context.spec.kubernetes.max_replicas


def _patch_targets(context: RenderContext, document: Any) -> None:
    for patch in document["patches"]:
        patch["target"]["name"] = context.objects_name


def _annotations(context: RenderContext, document: Any) -> None:
    _named(context, document)
    annotations = document["spec"]["template"]["metadata"]["annotations"]
    annotations["prometheus.io/port"] = str(context.spec.serving.rest_port)
    annotations["prometheus.io/path"] = context.spec.serving.monitoring_path


def _dev(context: RenderContext, document: Any) -> None:
    document["namespace"] = context.spec.kubernetes.namespace
    document["labels"][0]["pairs"][_INSTANCE] = f"{context.objects_name}-dev"
    document["replicas"][0]["name"] = context.objects_name
    _patch_targets(context, document)


def _prod(context: RenderContext, document: Any) -> None:
    document["namespace"] = context.spec.kubernetes.namespace
    document["labels"][0]["pairs"][_INSTANCE] = context.objects_name
    if not context.spec.serving.monitoring:
        document["components"].remove(_METRICS)


def _config_name(context: RenderContext) -> str:
    return f"{context.objects_name}-config"


def _ports(context: RenderContext) -> tuple[int, int]:
    return context.spec.serving.grpc_port, context.spec.serving.rest_port


def _memory(context: RenderContext) -> tuple[str, str]:
    """Request and limit as Kubernetes quantities; the limit is twice the request."""
    asked = context.spec.kubernetes.memory
    if asked is None:
        request = math.ceil(memory_bytes(context) / (64 * MIB)) * 64
        return f"{request}Mi", f"{2 * request}Mi"
    number, unit = re.fullmatch(r"([\d.]+)(\D*)", asked).groups()  # type: ignore[union-attr]  # KubernetesSpec.memory
    return asked, f"{2 * float(number):g}{unit}"


def split_image(reference: str) -> tuple[str, str | None, str | None]:
    """Name, tag and digest of an image reference: `registry:5000/digits:2@sha256:…`.

    Without tag and digest it means `latest`: not what a deployment should pin, but what the user wrote.
    """
    name, _, digest = reference.partition("@")
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name, None if digest else "latest", digest or None
    return head, tag, digest or None

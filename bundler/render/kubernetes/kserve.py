"""kserve/: a ServingRuntime with the bundle's settings, and one InferenceService per model."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

from bundler.render import RenderContext, RenderedModel, dns_labels, short_hash, tf_serving
from bundler.render.files import read_yaml, write_yaml
from bundler.render.kubernetes import base, models, pods
from bundler.render.kubernetes.scripts import STATE_SCRIPT
from bundler.render.kubernetes.sizes import startup_seconds
from bundler.render.kubernetes.tree import INSTANCE, VERSION, Edit, rename, set_image, set_namespace, shipped, unchanged

REST_PORT = 8080
GRPC_PORT = 9000
"""Ports that KServe expects from a TensorFlow runtime (kserve, config/runtimes/kserve-tensorflow-serving.yaml)."""

MODEL_DIR = "/mnt/models"
"""Folder into which KServe's storage initializer copies the content of storageUri."""

SERVICES = "kserve/inferenceservices.yaml"
RUNTIME = "kserve/servingruntime.yaml"

SETTINGS = "tfbundle/settings"
"""Annotation of an InferenceService with a hash of the runtime's settings."""


def edits(context: RenderContext) -> dict[str, Edit]:
    """Return the edit of each file of the folder, by path; `files` has the InferenceServices."""
    own: dict[str, Edit] = {}
    if _has_own_claim(context):
        own["kserve/claim.yaml"] = partial(_claim, context)
    if _is_filled(context):
        own["kserve/fill.yaml"] = partial(_fill, context)
    return own | {
        "kserve/kustomization.yaml": partial(_kustomization, context),
        "kserve/names.yaml": unchanged,
        RUNTIME: partial(_runtime, context),
    }


def files(context: RenderContext) -> dict[str, str]:
    """Return path and text of each config file, and of the InferenceServices: one document per model."""
    config = {f"kserve/config/{name}": text for name, text in _config_files(context).items()}
    documents = []
    names = dns_labels(model.name for model in context.models)
    settings = settings_hash(context)
    for model in context.models:
        document = read_yaml(shipped(SERVICES))
        document["metadata"]["name"] = names[model.name]
        document["metadata"]["annotations"][SETTINGS] = settings
        _service(context, model, document)
        documents.append(write_yaml(document))
    return {**config, SERVICES: "---\n".join(documents)}


def storage_uri(context: RenderContext, model: RenderedModel) -> str:
    """Return the URI of the model's folder in the bucket, or in the claim."""
    root = context.spec.kubernetes.storage_uri or f"pvc://{claim(context)}"
    return f"{root.rstrip('/')}/{model.name}"


def claim(context: RenderContext) -> str:
    """Return the name of the claim that KServe reads: an existing one, or one of this folder's own."""
    return context.spec.kubernetes.claim.existing or f"{_name(context)}-models"


def settings_hash(context: RenderContext) -> str:
    """Return a hash of all that the ServingRuntime gives a pod.

    As an annotation of the InferenceServices it replaces their pods when the runtime changes. KServe does so by itself only since
    0.16 (kserve#4342).
    """
    document = read_yaml(shipped(RUNTIME))
    _runtime(context, document)
    return short_hash(repr((write_yaml(document), _config_files(context), shipped(STATE_SCRIPT))), 16)


def _name(context: RenderContext) -> str:
    return f"{context.objects_name}-kserve"


def _has_own_claim(context: RenderContext) -> bool:
    return context.spec.kubernetes.storage_uri is None and context.spec.kubernetes.claim.existing is None


def _is_filled(context: RenderContext) -> bool:
    """Return whether a Job copies the models to the claim; to an existing one only if the user wants so."""
    wanted = "fill-claim" in context.spec.kubernetes.components and context.spec.kubernetes.storage_uri is None
    return _has_own_claim(context) or wanted


def server_flags(context: RenderContext) -> list[str]:
    """Return the runtime's flags: the bundle's, with KServe's ports and without the models, which the services name."""
    other_flags = [
        flag
        for flag in base.pod_flags(context)
        if not flag.startswith(("--port=", "--rest_api_port=", "--model_config_file=", "--allow_version_labels"))
    ]
    return [f"--port={GRPC_PORT}", f"--rest_api_port={REST_PORT}", f"--model_base_path={MODEL_DIR}", *other_flags]


def _config_files(context: RenderContext) -> dict[str, str]:
    texts = tf_serving.config_files(context)
    del texts[tf_serving.MODELS_CONFIG]
    return texts


def _kustomization(context: RenderContext, document: Any) -> None:
    rename(context, document)
    set_namespace(context, document)
    document["labels"][0]["pairs"].update({INSTANCE: _name(context), VERSION: context.version_label})
    names = sorted(("fill-claim.sh", "model-state.sh", *_config_files(context)))
    document["configMapGenerator"][0]["files"][:] = [f"config/{name}" for name in names]
    set_image(document["images"][0], context.image)
    if not _has_own_claim(context):
        document["resources"].remove("claim.yaml")
    if not _is_filled(context):
        document["resources"].remove("fill.yaml")
        del document["images"]


def _claim(context: RenderContext, document: Any) -> None:
    models.own_claim(context, document)
    document["metadata"]["name"] = claim(context)


def _fill(context: RenderContext, document: Any) -> None:
    name = _name(context)
    models.set_fill(context, document, name=name, config=f"{name}-config", claim=claim(context))


def _runtime(context: RenderContext, document: Any) -> None:
    rename(context, document)
    spec = document["spec"]
    if context.spec.serving.monitoring:
        spec["annotations"]["prometheus.io/path"] = context.spec.serving.monitoring_path
    else:
        del spec["annotations"]
    container = spec["containers"][0]
    container["image"] = context.spec.docker.reference
    container["args"][:] = server_flags(context)
    pods.set_container(context, container)
    spec["volumes"].extend(pods.plain(context.spec.kubernetes.pod.volumes))
    if "gpu" in context.spec.kubernetes.components:
        container.setdefault("env", []).append(dict(pods.GPU_ENV))


def _service(context: RenderContext, model: RenderedModel, document: Any) -> None:
    """Edit the service of one model. It has neither versions nor labels: KServe serves the newest version in storageUri."""
    predictor = document["spec"]["predictor"]
    _pod(context, predictor)
    predictor["minReplicas"] = context.spec.kubernetes.replicas
    predictor["maxReplicas"] = context.spec.kubernetes.max_replicas
    container = predictor["model"]
    container["runtime"] = context.objects_name
    container["storageUri"] = storage_uri(context, model)
    container["args"][0] = f"--model_name={model.name}"
    for probe in ("startupProbe", "readinessProbe"):
        container[probe]["exec"]["command"][2:] = [str(REST_PORT), model.name]
    container["livenessProbe"]["httpGet"]["path"] = f"/v1/models/{model.name}"
    single = _single_model(context, model)
    startup = container["startupProbe"]
    startup["failureThreshold"] = math.ceil(startup_seconds(single) / startup["periodSeconds"])
    pods.set_resources(single, container)
    if "gpu" in context.spec.kubernetes.components:
        container["resources"]["limits"][pods.GPU] = context.spec.kubernetes.gpus


def _pod(context: RenderContext, predictor: Any) -> None:
    """Set the user's settings of pods; a predictor has the fields of a pod."""
    pod = context.spec.kubernetes.pod
    predictor.update(pods.pod_fields(context))
    for key, values in (("labels", pod.labels), ("annotations", pod.annotations)):
        if values:
            predictor[key] = dict(values)
    if pod.service_account:
        predictor["serviceAccountName"] = pod.service_account
    if "gpu" in context.spec.kubernetes.components:
        predictor.setdefault("tolerations", []).append(dict(pods.GPU_TOLERATION))
    pods.set_mapping(predictor["securityContext"], pods.security_with_files(context))


def _single_model(context: RenderContext, model: RenderedModel) -> RenderContext:
    """Return the context of a bundle with only this model, at its latest version, to compute the sizes of its pods."""
    serving = context.spec.serving.model_copy(update={"labels": {}, "versions": {}})
    return replace(context, models=(model,), spec=context.spec.model_copy(update={"serving": serving}))

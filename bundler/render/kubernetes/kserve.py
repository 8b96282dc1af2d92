"""kserve/: a ServingRuntime with the bundle's settings, and one InferenceService per model."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

from bundler.render import RenderContext, RenderedModel, dns_labels, tf_serving
from bundler.render.files import read_yaml, write_yaml
from bundler.render.kubernetes import base
from bundler.render.kubernetes.sizes import memory, startup_seconds
from bundler.render.kubernetes.tree import INSTANCE, Edit, rename, set_namespace, shipped, unchanged

REST_PORT = 8080
GRPC_PORT = 9000
"""Ports that KServe expects from a TensorFlow runtime (kserve, config/runtimes/kserve-tensorflow-serving.yaml)."""

MODEL_DIR = "/mnt/models"
"""Folder into which KServe's storage initializer copies the content of storageUri."""

SERVICES = "kserve/inferenceservices.yaml"


def edits(context: RenderContext) -> dict[str, Edit]:
    """Return the edit of each file of the folder, by path; `files` has the InferenceServices."""
    return {
        "kserve/kustomization.yaml": partial(_kustomization, context),
        "kserve/names.yaml": unchanged,
        "kserve/servingruntime.yaml": partial(_runtime, context),
    }


def files(context: RenderContext) -> dict[str, str]:
    """Return path and text of each config file, and of the InferenceServices: one document per model."""
    config = {f"kserve/config/{name}": text for name, text in _config_files(context).items()}
    documents = []
    names = dns_labels(model.name for model in context.models)
    for model in context.models:
        document = read_yaml(shipped(SERVICES))
        document["metadata"]["name"] = names[model.name]
        _service(context, model, document)
        documents.append(write_yaml(document))
    return {**config, SERVICES: "---\n".join(documents)}


def storage_uri(context: RenderContext, model: RenderedModel) -> str:
    """Return the URI of the model's folder in the bucket, or in the claim of components/models-pvc."""
    root = context.spec.kubernetes.storage_uri or f"pvc://{context.objects_name}-models"
    return f"{root.rstrip('/')}/{model.name}"


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
    document["labels"][0]["pairs"][INSTANCE] = f"{context.objects_name}-kserve"
    names = sorted(("model-state.sh", *_config_files(context)))
    document["configMapGenerator"][0]["files"][:] = [f"config/{name}" for name in names]


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
    _resources(context, container["resources"])


def _service(context: RenderContext, model: RenderedModel, document: Any) -> None:
    """Edit the service of one model. It has neither versions nor labels: KServe serves the newest version in storageUri."""
    predictor = document["spec"]["predictor"]
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
    _resources(single, container["resources"])


def _single_model(context: RenderContext, model: RenderedModel) -> RenderContext:
    """Return the context of a bundle with only this model, at its latest version, to compute the sizes of its pods."""
    serving = context.spec.serving.model_copy(update={"labels": {}, "versions": {}})
    return replace(context, models=(model,), spec=context.spec.model_copy(update={"serving": serving}))


def _resources(context: RenderContext, resources: Any) -> None:
    request, limit = memory(context)
    resources["requests"].update(cpu=context.spec.kubernetes.cpu, memory=request)
    resources["limits"]["memory"] = limit

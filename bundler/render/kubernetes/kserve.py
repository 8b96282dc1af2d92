"""kserve/: a ServingRuntime with the bundle's settings, and an InferenceService for each model."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

from bundler.render import RenderContext, RenderedModel, dns_label, tf_serving
from bundler.render.files import read_yaml, write_yaml
from bundler.render.kubernetes import base
from bundler.render.kubernetes.sizes import memory, startup_seconds
from bundler.render.kubernetes.tree import INSTANCE, STATE_SCRIPT, Edit, rename, shipped, unchanged

REST_PORT = 8080
GRPC_PORT = 9000
"""Ports that KServe expects of a TensorFlow runtime (kserve, config/runtimes/kserve-tensorflow-serving.yaml)."""

MODEL_DIR = "/mnt/models"
"""Where KServe's storage initializer puts what storageUri names."""

SERVICES = "kserve/inferenceservices.yaml"


def edits(context: RenderContext) -> dict[str, Edit]:
    """File of the tree -> what differs in it for this bundle; the services are `services`."""
    return {
        "kserve/kustomization.yaml": partial(_kustomization, context),
        "kserve/names.yaml": unchanged,
        "kserve/servingruntime.yaml": partial(_runtime, context),
    }


def files(context: RenderContext) -> dict[str, str]:
    """File of the tree -> text: the configuration, and one document a model."""
    config = {f"kserve/config/{name}": text for name, text in _config(context).items()}
    documents = []
    for model in context.models:
        document = read_yaml(shipped(SERVICES))
        _service(context, model, document)
        documents.append(write_yaml(document))
    return {**config, SERVICES: "---\n".join(documents)}


def storage_uri(context: RenderContext, model: RenderedModel) -> str:
    """The model's folder in the bucket, or in the claim of components/models-pvc."""
    root = context.spec.kubernetes.storage_uri or f"pvc://{context.objects_name}-models"
    return f"{root.rstrip('/')}/{model.name}"


def server_flags(context: RenderContext) -> list[str]:
    """Flags of the runtime: those of the bundle, but for the ports and the model, which a service names."""
    kept = [
        flag
        for flag in base.pod_flags(context)
        if not flag.startswith(("--port=", "--rest_api_port=", "--model_config_file=", "--allow_version_labels"))
    ]
    return [f"--port={GRPC_PORT}", f"--rest_api_port={REST_PORT}", f"--model_base_path={MODEL_DIR}", *kept]


def _config(context: RenderContext) -> dict[str, str]:
    texts = {"model-state.sh": shipped(STATE_SCRIPT), **tf_serving.config_files(context)}
    del texts[tf_serving.MODELS_CONFIG]
    return dict(sorted(texts.items()))


def _kustomization(context: RenderContext, document: Any) -> None:
    rename(document, context.objects_name)
    document["namespace"] = context.spec.kubernetes.namespace
    document["labels"][0]["pairs"][INSTANCE] = f"{context.objects_name}-kserve"
    document["configMapGenerator"][0]["files"][:] = [f"config/{name}" for name in _config(context)]


def _runtime(context: RenderContext, document: Any) -> None:
    rename(document, context.objects_name)
    spec = document["spec"]
    if context.spec.serving.monitoring:
        spec["annotations"]["prometheus.kserve.io/path"] = context.spec.serving.monitoring_path
    else:
        del spec["annotations"]
    container = spec["containers"][0]
    container["image"] = context.spec.docker.reference
    container["args"][:] = server_flags(context)
    _resources(context, container["resources"])


def _service(context: RenderContext, model: RenderedModel, document: Any) -> None:
    """One model of the bundle; versions and labels are the affair of storageUri here: KServe's server has the newest."""
    document["metadata"]["name"] = dns_label(model.name)
    predictor = document["spec"]["predictor"]
    predictor["minReplicas"] = context.spec.kubernetes.replicas
    predictor["maxReplicas"] = context.spec.kubernetes.max_replicas
    served = predictor["model"]
    served["runtime"] = context.objects_name
    served["storageUri"] = storage_uri(context, model)
    served["args"][0] = f"--model_name={model.name}"
    for probe in ("startupProbe", "readinessProbe"):
        served[probe]["exec"]["command"][2:] = [str(REST_PORT), model.name]
    alone = _alone(context, model)
    startup = served["startupProbe"]
    startup["failureThreshold"] = math.ceil(startup_seconds(alone) / startup["periodSeconds"])
    _resources(alone, served["resources"])


def _alone(context: RenderContext, model: RenderedModel) -> RenderContext:
    """The bundle with one model and without its choice of versions: sizes are computed for one pod."""
    serving = context.spec.serving.model_copy(update={"labels": {}, "versions": {}})
    return replace(context, models=(model,), spec=context.spec.model_copy(update={"serving": serving}))


def _resources(context: RenderContext, resources: Any) -> None:
    request, limit = memory(context)
    resources["requests"].update(cpu=context.spec.kubernetes.cpu, memory=request)
    resources["limits"]["memory"] = limit

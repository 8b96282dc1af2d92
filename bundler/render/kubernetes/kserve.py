"""kserve/: a ServingRuntime with the bundle's settings, and one InferenceService per model, or two with a canary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from bundler.render import RenderContext, short_hash, tf_serving
from bundler.render.files import read_yaml, write_yaml
from bundler.render.kubernetes import base, canary, components, kserve_services, models, pods, storage
from bundler.render.kubernetes.kserve_services import Service
from bundler.render.kubernetes.scripts import STATE_SCRIPT
from bundler.render.kubernetes.sizes import startup_seconds
from bundler.render.kubernetes.tree import (
    INSTANCE,
    VERSION,
    Edit,
    ports,
    rename,
    set_image,
    set_namespace,
    shipped,
    unchanged,
)
from bundler.spec.storage_uri import IMAGES, scheme

REST_PORT = 8080
GRPC_PORT = 9000
"""Ports that KServe expects from a TensorFlow runtime (kserve, config/runtimes/kserve-tensorflow-serving.yaml)."""

INFERENCE_SERVICES = "kserve/inferenceservices.yaml"
PORTS = "kserve/services.yaml"
ROUTES = "kserve/httproutes.yaml"
RUNTIME = "kserve/servingruntime.yaml"

SETTINGS = "tfbundle/settings"
"""Annotation of an InferenceService with a hash of the runtime's settings."""

SERVICE = "tfbundle/service"
"""Label of the pods of an InferenceService with its name."""

_LABELS_FLAG = "--allow_version_labels_for_unavailable_models"


def edits(context: RenderContext) -> dict[str, Edit]:
    """Return the edit of each file of the folder, by path; `files` has the objects of each model."""
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
    """Return path and text of each config file, and of the objects of each model.

    Raises:
        SpecError: The settings name a model, version or label that does not exist, or a canary's routes have no room.
    """
    config = {f"kserve/config/{name}": text for name, text in _config_files(context).items()}
    found = kserve_services.services(context)
    names, settings = kserve_services.port_names(found), settings_hash(context)
    objects, addresses = [], []
    for service in found:
        document = read_yaml(shipped(INFERENCE_SERVICES))
        document["metadata"]["annotations"][SETTINGS] = settings
        _service(context, service, document)
        objects.append(write_yaml(document))
        document = read_yaml(shipped(PORTS))
        _ports(context, service, names[service.name], document)
        addresses.append(write_yaml(document))
    texts = {**config, INFERENCE_SERVICES: "---\n".join(objects), PORTS: "---\n".join(addresses)}
    if routes := [_route(context, service, names, found) for service in found if _has_route(context, service)]:
        texts[ROUTES] = "---\n".join(routes)
    return texts


def owned(earlier: list[str]) -> list[str]:
    """Return which files an earlier rendering may have written for models or settings that the bundle no longer has.

    Args:
        earlier: names of the files in kserve/config/.
    """
    return [ROUTES, *(f"kserve/config/{name}" for name in earlier if name.startswith("models-"))]


def location(context: RenderContext, model: str) -> storage.Storage:
    """Return where KServe finds a model: at `kubernetes.storage_uri`, or in the claim.

    Of an address of an image, the scheme counts, and `volume_image` names the image if it is set, as for the other components.
    """
    root = context.spec.kubernetes.storage_uri or f"pvc://{claim(context)}"
    if scheme(root) in IMAGES:
        root = f"{scheme(root)}://{models.volume_image(context)}"
    return storage.locate(root, model)


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
        if not flag.startswith(("--port=", "--rest_api_port=", "--model_config_file=", _LABELS_FLAG))
    ]
    return [f"--port={GRPC_PORT}", f"--rest_api_port={REST_PORT}", *other_flags]


def model_flags(service: Service) -> list[str]:
    """Return the flags of an InferenceService, which KServe appends to those of the runtime."""
    flags = [f"--model_config_file={tf_serving.CONFIG_DIR}/{service.config_name}"]
    return [*flags, f"{_LABELS_FLAG}=true"] if tf_serving.has_labels(service.context) else flags


def _config_files(context: RenderContext) -> dict[str, str]:
    """Return name and text of each config file: those of the bundle, with a models.config for each InferenceService."""
    texts = tf_serving.config_files(context)
    del texts[tf_serving.MODELS_CONFIG]
    for service in kserve_services.services(context):
        texts[service.config_name] = service.config(location(context, service.model.name)).to_text()
    return texts


def _kustomization(context: RenderContext, document: Any) -> None:
    rename(context, document)
    set_namespace(context, document)
    document["labels"][0]["pairs"].update({INSTANCE: _name(context), VERSION: context.version_label})
    names = sorted(("fill-claim.sh", "model-state.sh", *_config_files(context)))
    document["configMapGenerator"][0]["files"][:] = [f"config/{name}" for name in names]
    if any(_has_route(context, service) for service in kserve_services.services(context)):
        document["resources"].append("httproutes.yaml")
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


def _service(context: RenderContext, service: Service, document: Any) -> None:
    """Edit an InferenceService."""
    document["metadata"]["name"] = service.name
    predictor = document["spec"]["predictor"]
    _pod(context, service, predictor)
    predictor["minReplicas"] = service.replicas
    predictor["maxReplicas"] = context.spec.kubernetes.max_replicas
    container = predictor["model"]
    container["runtime"] = context.objects_name
    container["storageUri"] = location(context, service.model.name).uri
    container["args"][:] = model_flags(service)
    for probe in ("startupProbe", "readinessProbe"):
        container[probe]["exec"]["command"][2:] = [str(REST_PORT), *tf_serving.state_targets(service.context)]
    container["livenessProbe"]["httpGet"]["path"] = f"/v1/models/{service.model.name}"
    startup = container["startupProbe"]
    startup["failureThreshold"] = math.ceil(startup_seconds(service.context) / startup["periodSeconds"])
    pods.set_resources(service.context, container)
    if "gpu" in context.spec.kubernetes.components:
        container["resources"]["limits"][pods.GPU] = context.spec.kubernetes.gpus


def _ports(context: RenderContext, service: Service, name: str, document: Any) -> None:
    """Edit the Kubernetes Service with both ports of an InferenceService."""
    document["metadata"]["name"] = name
    document["spec"]["selector"].update({INSTANCE: _name(context), SERVICE: service.name})
    for port, number in zip(document["spec"]["ports"], ports(context), strict=True):
        port["port"] = number


def _has_route(context: RenderContext, service: Service) -> bool:
    """Return whether an HTTPRoute splits the requests for a model: one for its two services, beside the stable one."""
    return service.track == "stable" and "gateway" in context.spec.kubernetes.components


def _route(context: RenderContext, service: Service, names: Mapping[str, str], found: list[Service]) -> str:
    """Return the HTTPRoute of a model with a canary.

    The path of a gRPC request does not name the model, so that each model of a bundle with several has a host name of its own.

    Raises:
        SpecError: The model has too many labels for an HTTPRoute.
    """
    single = kserve_services.only(context, service.model)
    canary.check_route(single)
    tracks = {str(other.track): names[other.name] for other in found if other.model is service.model}
    document = read_yaml(shipped("components/gateway/httproute.yaml"))
    document["metadata"]["name"] = service.name
    spec = document["spec"]
    spec["parentRefs"][0].update(components.gateway(context))
    host = components.host(context)
    spec["hostnames"][0] = host if len(context.models) == 1 else f"{service.name}.{host}"
    shares = dict(zip(("stable", "canary"), canary.weights(context), strict=True))
    matches = {track: canary.route_matches(single, track) for track in canary.TRACKS}
    for protocol, rule, port in zip(("grpc", "rest"), list(spec["rules"]), ports(context), strict=True):
        rule["backendRefs"] = [{"name": tracks[track], "port": port, "weight": share} for track, share in shares.items()]
        for track in canary.TRACKS:
            own = {"matches": matches[track][protocol], "backendRefs": [{"name": tracks[track], "port": port}]}
            spec["rules"].append(own | ({"timeouts": dict(rule["timeouts"])} if "timeouts" in rule else {}))
    return write_yaml(document)


def _pod(context: RenderContext, service: Service, predictor: Any) -> None:
    """Set the user's settings of pods, and the labels by which they are found; a predictor has the fields of a pod."""
    pod = context.spec.kubernetes.pod
    predictor.update(pods.pod_fields(context))
    predictor["labels"].update({**pod.labels, INSTANCE: _name(context), SERVICE: service.name})
    if pod.annotations:
        predictor["annotations"] = dict(pod.annotations)
    if pod.service_account:
        predictor["serviceAccountName"] = pod.service_account
    if "gpu" in context.spec.kubernetes.components:
        predictor.setdefault("tolerations", []).append(dict(pods.GPU_TOLERATION))
    pods.set_mapping(predictor["securityContext"], pods.security_with_files(context))

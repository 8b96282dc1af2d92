"""Pod settings of bundle.yaml (`kubernetes.pod`) in a pod template, in the Helm chart's values, and in KServe's services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bundler.render import RenderContext
from bundler.render.kubernetes.sizes import memory

USER = 10001
"""User and group of the server's process: not root, and no account of the image."""

GPU = "nvidia.com/gpu"

SECURITY = {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "seccompProfile": {"type": "RuntimeDefault"}}
"""securityContext of a pod; with that of the container, it meets the Pod Security Standard "restricted"."""

CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
}  # fmt: skip

GPU_TOLERATION = {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}

GPU_ENV = {"name": "TF_FORCE_GPU_ALLOW_GROWTH", "value": "true"}
"""Otherwise the first session takes all of the GPU's memory, and none is left for a reload."""


def account(context: RenderContext) -> str:
    """Return the name of the pods' ServiceAccount."""
    return context.spec.kubernetes.pod.service_account or context.objects_name


def merged(default: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults with the user's changes, of which null removes a key; nested mappings are merged too."""
    result = dict(default)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = plain(value)
    return result


def plain(value: Any) -> Any:
    """Return a value of a spec as new dicts and lists, so that YAML is written without anchors."""
    if isinstance(value, Mapping):
        return {key: plain(member) for key, member in value.items()}
    return [plain(member) for member in value] if isinstance(value, (list, tuple)) else value


def resources(context: RenderContext) -> dict[str, dict[str, str]]:
    """Return requests and limits: CPU and memory, then the user's further ones."""
    request, limit = memory(context)
    own = context.spec.kubernetes.pod.resources
    return {
        "requests": {"cpu": context.spec.kubernetes.cpu, "memory": request} | dict(own.requests),
        "limits": {"memory": limit} | dict(own.limits),
    }


def security(context: RenderContext) -> dict[str, Any]:
    """Return the pods' securityContext."""
    return merged(SECURITY, context.spec.kubernetes.pod.security_context)


def file_group(context: RenderContext) -> int | None:
    """Return the group that owns files of volumes (fsGroup); None if the cluster chooses users and groups, as OpenShift does."""
    chosen = security(context)
    group: int | None = chosen.get("fsGroup", chosen.get("runAsGroup"))
    return group


def security_with_files(context: RenderContext) -> dict[str, Any]:
    """Return the securityContext of pods that share the files of a volume: with the group that owns them."""
    group = file_group(context)
    return security(context) | ({} if group is None else {"fsGroup": group})


def container_security(context: RenderContext) -> dict[str, Any]:
    """Return the containers' securityContext."""
    return merged(CONTAINER_SECURITY, context.spec.kubernetes.pod.container_security_context)


def pod_fields(context: RenderContext) -> dict[str, Any]:
    """Return the fields of a pod that the user set, besides securityContext and volumes."""
    pod = context.spec.kubernetes.pod
    fields = {
        "nodeSelector": pod.node_selector,
        "tolerations": pod.tolerations,
        "affinity": pod.affinity,
        "priorityClassName": pod.priority_class,
        "runtimeClassName": pod.runtime_class,
        "imagePullSecrets": [{"name": name} for name in pod.image_pull_secrets],
    }
    return {key: plain(value) for key, value in fields.items() if value}


def set_pod(context: RenderContext, template: Any) -> None:
    """Set the user's settings in a pod template of the server."""
    pod = context.spec.kubernetes.pod
    set_metadata(context, template)
    spec = template["spec"]
    spec["serviceAccountName"] = account(context)
    spec.update(pod_fields(context))
    set_mapping(spec["securityContext"], security(context))
    spec["volumes"].extend(plain(pod.volumes))
    set_container(context, spec["containers"][0])


def set_metadata(context: RenderContext, template: Any) -> None:
    """Set the user's annotations and labels of pods."""
    pod = context.spec.kubernetes.pod
    for key, values in (("labels", pod.labels), ("annotations", pod.annotations)):
        if values:
            template["metadata"].setdefault(key, {}).update(values)


def set_container(context: RenderContext, container: Any) -> None:
    """Set the user's settings of the server's container."""
    pod = context.spec.kubernetes.pod
    for key, value in (("env", pod.env), ("envFrom", pod.env_from)):
        if value:
            container[key] = plain(value)
    set_resources(context, container)
    set_mapping(container["securityContext"], container_security(context))
    container["volumeMounts"].extend(plain(pod.volume_mounts))


def set_resources(context: RenderContext, container: Any) -> None:
    """Set requests and limits of a server's container."""
    for kind, values in resources(context).items():
        set_mapping(container["resources"][kind], values)


def set_mapping(target: Any, values: Mapping[str, Any]) -> None:
    """Replace the content of a mapping in a document, and keep the comments of the keys that stay."""
    for key in [key for key in target if key not in values]:
        del target[key]
    for key, value in values.items():
        if key not in target or target[key] != value:
            target[key] = value

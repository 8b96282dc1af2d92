"""Settings of pods that Kubernetes defines: `kubernetes.pod` in bundle.yaml.

Their keys and values are those of the Kubernetes API (core/v1), so that they can be copied from its documentation. The shapes
below name the keys that the API knows, because an API server drops an unknown key with a warning at most, and a pod without
its toleration or its node affinity runs in the wrong place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator, model_validator

from bundler.spec.problems import did_you_mean, show
from bundler.spec.signature_spec import Strict

ANY: dict[str, Any] = {}
"""Shape of a mapping that is not looked into."""

_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?|Ki)?")
_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_OBJECT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")

TOLERATION = {
    "key": str, "operator": ("Exists", "Equal"), "value": str, "tolerationSeconds": int,
    "effect": ("NoSchedule", "PreferNoSchedule", "NoExecute"),
}  # fmt: skip
_REQUIRED, _PREFERRED = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
_POD_AFFINITY = {_REQUIRED: [ANY], _PREFERRED: [ANY]}
AFFINITY = {
    "nodeAffinity": {_REQUIRED: ANY, _PREFERRED: [ANY]}, "podAffinity": _POD_AFFINITY, "podAntiAffinity": _POD_AFFINITY,
}  # fmt: skip
ENV_VAR = {
    "name": str, "value": str,
    "valueFrom": dict.fromkeys(("configMapKeyRef", "fieldRef", "fileKeyRef", "resourceFieldRef", "secretKeyRef"), ANY),
}  # fmt: skip
ENV_FROM = {
    "prefix": str, "configMapRef": {"name": str, "optional": bool}, "secretRef": {"name": str, "optional": bool},
}  # fmt: skip
VOLUME = {
    "name": str,
    **dict.fromkeys(
        (
            "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "configMap", "csi", "downwardAPI", "emptyDir",
            "ephemeral", "fc", "flexVolume", "flocker", "gcePersistentDisk", "gitRepo", "glusterfs", "hostPath", "image", "iscsi",
            "nfs", "persistentVolumeClaim", "photonPersistentDisk", "portworxVolume", "projected", "quobyte", "rbd", "scaleIO",
            "secret", "storageos", "vsphereVolume",
        ),
        ANY,
    ),
}  # fmt: skip
VOLUME_MOUNT = {
    "bindMountOptions": [str], "name": str, "mountPath": str,
    "mountPropagation": ("None", "HostToContainer", "Bidirectional"), "readOnly": bool,
    "recursiveReadOnly": ("Disabled", "IfPossible", "Enabled"), "subPath": str, "subPathExpr": str,
}  # fmt: skip
_BOTH_CONTEXTS = {
    "appArmorProfile": {"type": ("RuntimeDefault", "Unconfined", "Localhost"), "localhostProfile": str}, "runAsGroup": int,
    "runAsNonRoot": bool, "runAsUser": int, "seLinuxOptions": dict.fromkeys(("level", "role", "type", "user"), str),
    "seccompProfile": {"type": ("RuntimeDefault", "Unconfined", "Localhost"), "localhostProfile": str},
    "windowsOptions": ANY,
}  # fmt: skip
POD_SECURITY = _BOTH_CONTEXTS | {
    "fsGroup": int, "fsGroupChangePolicy": ("OnRootMismatch", "Always"), "seLinuxChangePolicy": ("Recursive", "MountOption"),
    "supplementalGroups": [int], "supplementalGroupsPolicy": ("Merge", "Strict"), "sysctls": [{"name": str, "value": str}],
}  # fmt: skip
CONTAINER_SECURITY = _BOTH_CONTEXTS | {
    "allowPrivilegeEscalation": bool, "capabilities": {"add": [str], "drop": [str]}, "privileged": bool,
    "procMount": ("Default", "Unmasked"), "readOnlyRootFilesystem": bool,
}  # fmt: skip

_WORDS = {str: "a string; put it in quotes", int: "a whole number", bool: "true or false"}


def check_shape(value: Any, shape: Any, where: str = "") -> None:
    """Check a value of bundle.yaml against a shape.

    Args:
        value: what the user wrote. None is allowed everywhere; it removes a default.
        shape: `str`, `int` or `bool`; a tuple of allowed strings; a list with the shape of the members; a mapping of the allowed
            keys to the shapes of their values; or ANY for a mapping that is not looked into.
        where: key of the value, for messages.

    Raises:
        ValueError: the value, or one in it, does not have the shape. The message names the key and the rule.
    """
    before = f"{where}: " if where else ""
    if value is None:
        return
    if isinstance(shape, type):
        if not isinstance(value, shape) or (shape is int and isinstance(value, bool)):
            raise ValueError(f"{before}{show(value)} is not {_WORDS[shape]}")
    elif isinstance(shape, tuple):
        if value not in shape:
            raise ValueError(f"{before}{show(value)} is not one of {', '.join(shape)}{did_you_mean(str(value), shape)}")
    elif isinstance(shape, list):
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{before}{show(value)} is not a list")
        for index, member in enumerate(value):
            check_shape(member, shape[0], f"{where}.{index}".lstrip("."))
    elif not isinstance(value, Mapping):
        raise ValueError(f"{before}{show(value)} is not a mapping")
    elif shape:
        for key, member in value.items():
            if key not in shape:
                raise ValueError(f"{before}unknown key {show(key)}{did_you_mean(str(key), shape)}")
            check_shape(member, shape[key], f"{where}.{key}".lstrip("."))


def shaped(shape: Any, *required: str) -> AfterValidator:
    """Return a validator for a mapping, or for a list of mappings, of which each has the required keys."""

    def check(value: Any) -> Any:
        check_shape(list(value) if isinstance(value, tuple) else value, shape)
        for index, member in enumerate(value if required else ()):
            missing = [key for key in required if not member.get(key)]
            if missing:
                raise ValueError(f"{index}: the key {missing[0]} is required")
        return value

    return AfterValidator(check)


def _matching(pattern: re.Pattern[str], what: str, example: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"{text!r} is not {what}; e.g. {example}")
        return text

    return check


Key = Annotated[str, AfterValidator(_matching(_KEY, "the key of a label or an annotation", "example.com/team"))]
LabelValue = Annotated[str, AfterValidator(_matching(_LABEL, "the value of a label, which has at most 63 characters", "team-a"))]
ObjectName = Annotated[str, AfterValidator(_matching(_OBJECT, "the name of an object", "my-object"))]
Labels = dict[Key, LabelValue]
Quantity = Annotated[str, AfterValidator(_matching(_QUANTITY, "a quantity", "500m or 2Gi"))]
Mappings = tuple[dict[str, Any], ...]


class ResourcesSpec(Strict, coerce_numbers_to_str=True):
    """Requests and limits besides `cpu` and `memory`, or in their place."""

    requests: dict[str, Quantity] = Field({}, description="Requests.", examples=[{"ephemeral-storage": "1Gi"}])
    limits: dict[str, Quantity] = Field({}, description="Limits.", examples=[{"cpu": "4"}])


class PodSpec(Strict):
    """Settings of the server's pods, with the keys and values of the Kubernetes API (core/v1)."""

    annotations: dict[Key, str] = Field({}, description="Annotations of the pods.", examples=[{"example.com/team": "ml"}])
    labels: Labels = Field({}, description="Further labels of the pods.", examples=[{"team": "ml"}])
    node_selector: Labels = Field(
        {}, description="Labels of the nodes that may run the pods.", examples=[{"kubernetes.io/arch": "amd64"}]
    )
    tolerations: Annotated[Mappings, shaped([TOLERATION])] = Field(
        (),
        description="Taints of nodes that the pods tolerate.",
        examples=[[{"key": "dedicated", "operator": "Equal", "value": "ml", "effect": "NoSchedule"}]],
    )
    affinity: Annotated[dict[str, Any], shaped(AFFINITY)] = Field(
        {},
        description="Affinity to nodes and pods.",
        examples=[{"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}],
    )
    priority_class: ObjectName | None = Field(None, description="Name of the pods' PriorityClass.", examples=["high"])
    runtime_class: ObjectName | None = Field(None, description="Name of the pods' RuntimeClass.", examples=["nvidia"])
    image_pull_secrets: tuple[ObjectName, ...] = Field(
        (), description="Secrets with credentials of registries.", examples=[["registry"]]
    )
    service_account: ObjectName | None = Field(
        None, description="An existing ServiceAccount. Default: one of the bundle's own.", examples=["models"]
    )
    service_account_annotations: dict[Key, str] = Field(
        {},
        description="Annotations of the bundle's own ServiceAccount, e.g. with its identity at a cloud.",
        examples=[{"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/models"}],
    )
    security_context: Annotated[dict[str, Any], shaped(POD_SECURITY)] = Field(
        {},
        description="Changes to the pods' securityContext; null removes a key.",
        examples=[{"runAsUser": None, "runAsGroup": None}],
    )
    container_security_context: Annotated[dict[str, Any], shaped(CONTAINER_SECURITY)] = Field(
        {}, description="Changes to the containers' securityContext; null removes a key.", examples=[{"runAsUser": 10002}]
    )
    env: Annotated[Mappings, shaped([ENV_VAR], "name")] = Field(
        (), description="Environment variables of the server.", examples=[[{"name": "OMP_NUM_THREADS", "value": "2"}]]
    )
    env_from: Annotated[Mappings, shaped([ENV_FROM])] = Field(
        (), description="ConfigMaps and Secrets whose keys become variables.", examples=[[{"configMapRef": {"name": "tuning"}}]]
    )
    volumes: Annotated[Mappings, shaped([VOLUME], "name")] = Field(
        (), description="Further volumes.", examples=[[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]]
    )
    volume_mounts: Annotated[Mappings, shaped([VOLUME_MOUNT], "name", "mountPath")] = Field(
        (), description="Where the server sees these volumes.", examples=[[{"name": "data", "mountPath": "/data"}]]
    )
    resources: ResourcesSpec = Field(ResourcesSpec(), description="Requests and limits besides `cpu` and `memory`.")

    @field_validator("image_pull_secrets")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(names))

    @model_validator(mode="after")
    def _no_name_twice(self) -> PodSpec:
        for field, key, members in (
            ("env", "name", self.env), ("volumes", "name", self.volumes), ("volume_mounts", "mountPath", self.volume_mounts)
        ):  # fmt: skip
            found = [member[key] for member in members]
            for name in found:
                if found.count(name) > 1:
                    raise ValueError(f"{field}: two members have the {key} {name!r}; leave one of them out")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> PodSpec:
        for key in self.labels:
            if key.startswith("app.kubernetes.io/"):
                raise ValueError(f"labels: tfbundle sets {key} itself; choose another key, e.g. example.com/team")
        for variable in self.env:
            if not _ENV_NAME.fullmatch(variable["name"]):
                raise ValueError(f"env: {variable['name']!r} is not the name of a variable; e.g. OMP_NUM_THREADS")
        own = {volume["name"] for volume in self.volumes}
        for name in own & _VOLUMES:
            raise ValueError(f"volumes: tfbundle's own volume has the name {name!r}; choose another one, e.g. my-{name}")
        for mount in self.volume_mounts:
            if mount["name"] not in own | {"tmp"}:
                raise ValueError(f"volume_mounts: there is no volume {mount['name']!r}; add it to volumes")
        if self.service_account and self.service_account_annotations:
            raise ValueError(
                "service_account_annotations: tfbundle does not change the existing account "
                f"{self.service_account!r}; annotate it yourself"
            )
        return self


_VOLUMES = frozenset({"config", "tmp", "models", "registry", "tls-secret", "tls-script", "tls-config"})

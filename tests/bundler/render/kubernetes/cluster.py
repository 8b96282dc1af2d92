"""Checks of rendered objects that a cluster would make: kustomize, schemas, and the Pod Security Standard `restricted`."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
from kubernetes_validate import utils
from referencing import Registry, Resource
from ruamel.yaml import YAML

from bundler.spec.kubernetes_spec import COMPONENTS, SOURCES
from tests import requirements
from tests.bundler.render.kubernetes import custom

OTHERS = tuple(name for name in COMPONENTS if name not in SOURCES and name != "fill-claim")
"""Components that can all be used together."""

ALONE: tuple[tuple[str, ...], ...] = tuple(
    ("models-pvc", name) if name == "fill-claim" else (name,) for name in COMPONENTS
)
"""Each component, with the one that it builds on."""

TOGETHER: tuple[tuple[str, ...], ...] = (
    OTHERS, (*OTHERS, "models-pvc", "fill-claim"), (*OTHERS, "models-volume"), (*OTHERS, "models-bucket"),
    (*OTHERS, "models-oci"),
)  # fmt: skip
"""All components, for each source of models."""

Object = dict[str, Any]

VERSIONS = tuple(
    version
    for full in kubernetes_validate.utils.all_versions()
    if (version := ".".join(full.split(".")[:2])) and int(version.split(".")[1]) >= 28
)

"""1.28 to the newest version in kubernetes-validate."""

IMAGE_VOLUMES_SINCE = "1.31"
"""The first version with volumes[].image. The profile `restricted` allows it since 1.33; it needs no feature gate since 1.35."""

POD_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
"""pod-security-admission, policy/check_restrictedVolumes.go; `image` since 1.33 (kubernetes#130394)."""


def kustomize(folder: Path) -> list[Object]:
    """Return the objects that kubectl renders from a kustomization; fail on any warning."""
    kubectl = requirements.kubectl()
    tree = folder.parents[1] if folder.parent.name == "overlays" else folder.parent
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    key = (folder.relative_to(tree), *((path.relative_to(tree), path.read_bytes()) for path in files))
    if key not in _kustomized:
        done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert not done.stderr, done.stderr
        _kustomized[key] = done.stdout
    return list(YAML(typ="safe").load_all(_kustomized[key]))


_kustomized: dict[tuple[object, ...], str] = {}
"""Output of kubectl by content of the tree, because many tests render the same one."""


def overlay(tree: Path, components: tuple[str, ...], *, name: str = "mine", lines: str = "") -> Path:
    """Write an overlay of the base with components, as a user would, and return its folder."""
    folder = tree / "overlays" / name
    folder.mkdir(parents=True, exist_ok=True)
    listed = "".join(f"  - ../../components/{component}\n" for component in components)
    text = f"resources:\n  - ../../base\n{lines}" + (f"components:\n{listed}" if listed else "")
    (folder / "kustomization.yaml").write_text(text)
    return folder


def by_name(objects: list[Object]) -> dict[tuple[str, str], Object]:
    """Return the objects by (kind, name); fail if two have the same."""
    found = {(o["kind"], o["metadata"]["name"]): o for o in objects}
    assert len(found) == len(objects)
    return found


def overlay_objects(tree: Path, *components: str, lines: str = "") -> dict[tuple[str, str], Any]:
    """Return the objects of an overlay with the given components, by kind and name."""
    name = "-".join(components) or "none"
    return by_name(kustomize(overlay(tree, components, name=name[:200], lines=lines)))


def pod_spec(objects: dict[tuple[str, str], Any], name: str = "demo") -> Any:
    """Return the pod of a Deployment."""
    return objects["Deployment", name]["spec"]["template"]["spec"]


def assert_valid(objects: list[Object], versions: tuple[str, ...] = VERSIONS) -> None:
    """Check every object for every version of Kubernetes, with unknown keys as errors, and that every pod is restricted.

    A custom resource is checked for every release of the project that defines it, older ones with the newest Kubernetes.
    """
    for document in objects:
        text = json.dumps(document, sort_keys=True)
        *older, newest = custom.releases(document["apiVersion"]) or ("",)
        for version in versions:
            if "image" not in volumes_of(document) or newer(version, IMAGE_VOLUMES_SINCE):
                assert_valid_for(text, version, newest)
        for release in older:
            assert_valid_for(text, versions[-1], release)
        if pod := pod_of(document):
            assert_restricted(pod)


def newer(version: str, than: str) -> bool:
    return [int(part) for part in version.split(".")] >= [int(part) for part in than.split(".")]


def pod_of(document: Object) -> Any:
    return document["spec"]["template"]["spec"] if document["kind"] in ("Deployment", "Job") else None


def volumes_of(document: Object) -> set[str]:
    """Return the types of the volumes in an object's pods."""
    pod = pod_of(document) or {}
    return {key for volume in pod.get("volumes", []) for key in volume if key != "name"}


def assert_restricted(pod: Any) -> None:
    """Check a pod against each rule of the Pod Security Standard "restricted", and that its root is read-only."""
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"].get("runAsUser", 1) > 0  # without it, OpenShift chooses a user
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    kinds = {key for volume in pod.get("volumes", []) for key in volume if key != "name"}
    assert kinds <= POD_VOLUMES
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        assert_container_restricted(container)


def assert_container_restricted(container: Any) -> None:
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["readOnlyRootFilesystem"] is True
    assert "privileged" not in security
    assert all("hostPort" not in port for port in container.get("ports", []))
    assert container["resources"]["requests"]["memory"]


@cache
def assert_valid_for(text: str, version: str, release: str) -> None:
    """Check an object, as JSON, for a version of Kubernetes, or for a release of the project that defines it."""
    document = json.loads(text)
    try:
        _validator(document["apiVersion"], document["kind"], version, release).validate(document)
    except jsonschema.ValidationError as exc:
        where = "/".join(map(str, exc.path))
        name = f"{document['kind']} {document['metadata']['name']}"
        of = f" and {document['apiVersion'].partition('/')[0]} {release}" if release else ""
        raise AssertionError(f"{name} for Kubernetes {version}{of}: {where}: {exc.message[:500]}") from None


@cache
def _validator(api_version: str, kind: str, version: str, release: str) -> Any:
    folder = f"kubernetes-json-schema/v{version}.0-local-strict"
    definitions = _definitions(folder, version)
    if release:
        schema = custom.schema(api_version, kind, release)
    else:
        group = api_version.split("/")[0].split(".")[0] + "-" if "/" in api_version else ""
        name = f"{kind.lower()}-{group}{api_version.split('/')[-1]}.json"
        schema = utils.schema_contents(f"{folder}/{name}", version)
    return jsonschema.Draft202012Validator(schema, registry=definitions)


@cache
def _definitions(folder: str, version: str) -> Any:
    contents = Resource.from_contents(utils.schema_contents(f"{folder}/_definitions.json", version))
    return (contents @ Registry()).crawl()

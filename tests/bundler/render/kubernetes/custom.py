"""JSON Schemas of custom resources, by release of the project that defines them; schemas/README.md has their sources."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FILES = {
    "gateway.networking.k8s.io/v1": "gateway-api.json",
    "monitoring.coreos.com/v1": "prometheus-operator.json",
    "serving.kserve.io/v1alpha1": "kserve.json",
    "serving.kserve.io/v1beta1": "kserve.json",
}
"""apiVersion to the file in schemas/."""

PROJECTS = {
    "gateway-api.json": "Gateway API (standard channel)",
    "prometheus-operator.json": "prometheus-operator",
    "kserve.json": "KServe",
}
"""The project that defines the kinds of a file."""


@cache
def _document(api_version: str) -> Any:
    return json.loads((Path(__file__).parent / "schemas" / FILES[api_version]).read_text("utf-8"))


def releases(api_version: str) -> tuple[str, ...]:
    """Return the releases for which there are schemas, oldest first; none for Kubernetes' own objects."""
    return tuple(_document(api_version)["releases"]) if api_version in FILES else ()


def spans() -> dict[str, str]:
    """Return the first and the last release that each project has schemas for."""
    found = {PROJECTS[file]: releases(api_version) for api_version, file in FILES.items()}
    return {name: names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}" for name, names in found.items()}


def schema(api_version: str, kind: str, release: str) -> dict[str, Any]:
    """Return the schema of a kind as a release defines it, with unknown keys as errors."""
    document = _document(api_version)
    past = document["releases"][: document["releases"].index(release) + 1]
    definitions = {name: _definition(entry, past) for name, entry in document["$defs"].items()}
    return {"$id": "https://kubernetes.io/api/custom.json", "$ref": f"#/$defs/{document['kinds'][kind]}", "$defs": definitions}


def _definition(entry: dict[str, Any], past: list[str]) -> dict[str, Any]:
    """Return a definition after the changes of some releases."""
    if "properties" not in entry:
        return entry
    properties = {key: value for key, changes in entry["properties"].items() if (value := _last(changes, past)) is not None}
    required = [key for key, changes in entry["required"].items() if _last(changes, past)]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _last(changes: dict[str, Any], past: list[str]) -> Any:
    return next((changes[release] for release in reversed(past) if release in changes), None)

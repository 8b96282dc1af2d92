"""The packages that a logged model needs to answer: what runs it, without torch, ONNX or anything else of the build."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from bundler.bundle.reader import BundleReader
from bundler.mlflow.choice import Choice

_RUNTIMES = ("tensorflow", "ai-edge-litert")
"""The packages that compute; a version is pinned to the releases with which its answers were compared with PyTorch's."""


def get_default_pip_requirements() -> list[str]:
    """Return the requirements of every model of this flavour, besides MLflow itself."""
    return [f"tfbundle[mlflow,serve]=={version('tfbundle')}"]


def pip_requirements(bundle: BundleReader, choice: Choice) -> list[str]:
    """Return the requirements of a logged model: tfbundle of this release, and the runtimes of the version's build."""
    build: Mapping[str, Any] = bundle.record(choice.model, choice.version).get("build") or {}
    packages: Mapping[str, str] = build.get("packages", {})
    pinned = [f"{name}=={packages[name]}" for name in _RUNTIMES if name in packages]
    return [*get_default_pip_requirements(), *pinned]

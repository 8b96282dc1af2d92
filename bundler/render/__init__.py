"""What a bundle brings beside its models: serving config, Kubernetes tree, Docker files, smoke test.

Each module here has `render(context, folder) -> list[Path]`: it writes its part under `folder` (the root of a
bundle, or the staging folder of one), overwrites only files that it owns, and returns what it wrote.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bundler.errors import SpecError
from bundler.spec.bundle_spec import BundleSpec
from bundler.values.signature import Signature

_TAG_LENGTH = 128
"""Longest tag of a container image (distribution/reference, `[\\w][\\w.-]{0,127}`)."""

_LABEL_LENGTH = 63 - len("-dev")
"""Longest DNS label (RFC 1123), so longest name of a Service, with room for an overlay's suffix."""


@dataclass(frozen=True)
class RenderedModel:
    """One model as the renderers see it.

    Attributes:
        versions: versions in the bundle, ascending.
        size_bytes: size of the latest version's folder.
        signatures: of the latest version, `serving_default` first.
        tolerance: largest relative error allowed against PyTorch.
        fast_path_bytes: size of the latest version's model.tflite; 0: there is none.
        largest_batch: rows of the largest warm-up record of its versions.
    """

    name: str
    versions: tuple[int, ...]
    size_bytes: int
    signatures: dict[str, Signature] = field(default_factory=dict)
    tolerance: float = 1e-4
    fast_path_bytes: int = 0
    largest_batch: int = 0

    def __post_init__(self) -> None:
        if not self.versions or list(self.versions) != sorted(set(self.versions)):
            found = list(self.versions)
            raise ValueError(f"versions of {self.name!r} must rise and be at least one, got {found}")

    @property
    def latest(self) -> int:
        return self.versions[-1]


@dataclass(frozen=True)
class RenderContext:
    """Everything the renderers need to know of a bundle.

    Attributes:
        name: the bundle's name as a DNS label; make it with `dns_label`.
        models: in the bundle's order; at least one.
        manifest: content of bundle.json (see `bundler.bundle.manifest`), for the report; `files` may still be incomplete.
    """

    name: str
    spec: BundleSpec
    models: tuple[RenderedModel, ...]
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def model(self, name: str) -> RenderedModel:
        """The model of this name.

        Raises:
            SpecError: the bundle has none.
        """
        for model in self.models:
            if model.name == name:
                return model
        known = ", ".join(m.name for m in self.models)
        raise SpecError(f"serving: the model {name!r} is not in the bundle.", fix=f"one of: {known}")

    @property
    def objects_name(self) -> str:
        """Name of the Kubernetes objects."""
        return dns_label(self.spec.kubernetes.name or self.name)

    @property
    def image(self) -> str:
        """Image with server, models and configuration: `kubernetes.models_image`, or `<name>:<tag>`."""
        return self.spec.kubernetes.models_image or f"{self.name}:{self.tag}"

    @property
    def tag(self) -> str:
        """Tag that names the content: `2` for one model at version 2, `digits-2_minilm-1` for several."""
        if len(self.models) == 1:
            return str(self.models[0].latest)
        tag = "_".join(f"{m.name}-{m.latest}" for m in self.models)
        if len(tag) <= _TAG_LENGTH:
            return tag
        return f"{len(self.models)}-models-{hashlib.sha256(tag.encode()).hexdigest()[:16]}"


def dns_label(name: str) -> str:
    """A name as a DNS label: lower-case letters, digits and `-`.

    A Service's name must begin with a letter (RFC 1035), so one that begins with a digit gets `m-` before it.
    """
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "bundle"
    if not label[0].isalpha():
        label = f"m-{label}"
    return label[:_LABEL_LENGTH].rstrip("-")

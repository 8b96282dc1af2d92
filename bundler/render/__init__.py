"""Renderers of everything in a bundle besides its models: serving config, Kubernetes tree, Docker files, smoke test, report.

Each renderer has `render(context, folder) -> list[Path]`. It writes its part of the bundle under `folder` (the root of a
bundle or of a staging folder), overwrites only the files that it owns, and returns the paths of the files it wrote.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bundler.errors import SpecError
from bundler.spec.bundle_spec import BundleSpec
from bundler.values.signature import Signature

_TAG_LENGTH = 128
"""Maximum length of a container image tag (distribution/reference, `[\\w][\\w.-]{0,127}`)."""

_LABEL_LENGTH = 63 - len("-predictor")
"""Maximum length of a DNS label (RFC 1123), and so of a Service's name, less room for the longest suffix that is added to it.

The suffixes are -dev, -kserve, -canary and -metrics; KServe adds -predictor to an InferenceService's name.
"""

_LABEL_VALUE_LENGTH = 63
_HASH_LENGTH = 6
_DIGEST_LENGTH = 12


@dataclass(frozen=True)
class RenderedModel:
    """One model as the renderers see it.

    Attributes:
        name: The model's name.
        versions: The versions in the bundle, ascending.
        size_bytes: The size of the latest version's folder.
        signatures: The signatures of the latest version, `serving_default` first.
        tolerance: The largest relative error allowed against PyTorch.
        fast_path_bytes: The memory of one interpreter's weights of the latest version's model.tflite, or 0 if it has none.
        largest_batch: The number of rows in the largest warm-up record of any version.
        ignores_padding: Whether requests of different lengths can share a batch of any version, padded; None if no length varies.
        graph_bytes: The size of the latest version's saved_model.pb.
    """

    name: str
    versions: tuple[int, ...]
    size_bytes: int
    signatures: dict[str, Signature] = field(default_factory=dict)
    tolerance: float = 1e-4
    fast_path_bytes: int = 0
    largest_batch: int = 0
    ignores_padding: bool | None = None
    graph_bytes: int = 0

    def __post_init__(self) -> None:
        if not self.versions or list(self.versions) != sorted(set(self.versions)):
            versions = list(self.versions)
            raise ValueError(f"model {self.name!r} needs at least one version, in ascending order; got {versions}")

    @property
    def latest(self) -> int:
        """The highest version."""
        return self.versions[-1]


@dataclass(frozen=True)
class RenderContext:
    """Everything the renderers need to know about a bundle.

    Attributes:
        name: The bundle's name as a DNS label (see `dns_label`).
        spec: The bundle's settings.
        models: The models in the bundle's order, at least one.
        manifest: The content of bundle.json (see `bundler.bundle.manifest`), for the report. Its `files` may be incomplete.
        failures: Why further models could not be built, by name, for the report of that build.
    """

    name: str
    spec: BundleSpec
    models: tuple[RenderedModel, ...]
    manifest: Mapping[str, Any] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)

    def model(self, name: str) -> RenderedModel:
        """Return the model with the given name.

        Raises:
            SpecError: The bundle has no such model.
        """
        for model in self.models:
            if model.name == name:
                return model
        known = ", ".join(m.name for m in self.models)
        raise SpecError(
            f"serving: the model {name!r} is not in the bundle.", fix=f"choose one of: {known}", code="TFB1105"
        )

    def is_adopted(self, model: str, version: int) -> bool:
        """Return whether tfbundle did not build a version, so that there are no golden data for it."""
        versions = self.manifest.get("models", {}).get(model, {}).get("versions", {})
        return bool(versions.get(str(version), {}).get("adopted"))

    @property
    def objects_name(self) -> str:
        """The name of the Kubernetes objects."""
        return dns_label(self.spec.kubernetes.name or self.name)

    @property
    def image(self) -> str:
        """The image with server, models and configuration: `kubernetes.models_image` or `<name>`, with `tag` if it lacks one."""
        return tagged(self.spec.kubernetes.models_image or self.name, self.tag)

    @property
    def tag(self) -> str:
        """An image tag that names the models and the server, so that a new one of either is rolled out: `2-2.19.1`.

        A digest of the server's image is named by its first characters.
        """
        docker = self.spec.docker
        server = "-".join(part for part in (docker.tag, (docker.digest or "").partition(":")[2][:_DIGEST_LENGTH]) if part)
        return self._cut(f"{self.models_tag}-{server}")

    @property
    def version_label(self) -> str:
        """The tag as the value of a label, which has at most 63 characters and begins and ends with a letter or a digit."""
        return self.tag[:_LABEL_VALUE_LENGTH].strip("._-")

    @property
    def models_tag(self) -> str:
        """An image tag that names the models: `2` for a single one at version 2, `digits-2_minilm-1` for several."""
        if len(self.models) == 1:
            return str(self.models[0].latest)
        return self._cut("_".join(f"{m.name}-{m.latest}" for m in self.models))

    def _cut(self, tag: str) -> str:
        return tag if len(tag) <= _TAG_LENGTH else f"{len(self.models)}-models-{short_hash(tag, 16)}"


def tagged(reference: str, tag: str) -> str:
    """Return an image reference with a tag, unless it has a tag or a digest; `latest` would never be rolled out."""
    has_one = "@" in reference or ":" in reference.rpartition("/")[2]
    return reference if has_one else f"{reference}:{tag}"


def dns_label(name: str) -> str:
    """Return `name` as a DNS label: lower-case letters, digits and `-`.

    A Service's name must begin with a letter (RFC 1035), so a name that begins with a digit is prefixed with `m-`. A label that
    is too long is cut and ends in a hash of the name.
    """
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "bundle"
    if not label[0].isalpha():
        label = f"m-{label}"
    return label if len(label) <= _LABEL_LENGTH else _hashed(label, name)


def dns_labels(names: Iterable[str]) -> dict[str, str]:
    """Return a DNS label for each name. Names that would have the same one, such as my_model and my-model, get hashes."""
    labels = {name: dns_label(name) for name in names}
    count = Counter(labels.values())
    return {name: _hashed(label, name) if count[label] > 1 else label for name, label in labels.items()}


def _hashed(label: str, name: str) -> str:
    return f"{label[: _LABEL_LENGTH - _HASH_LENGTH - 1].rstrip('-')}-{short_hash(name, _HASH_LENGTH)}"


def short_hash(text: str, length: int = 8) -> str:
    """Return a few hexadecimal digits that tell texts apart, for the end of a name."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]

"""The paths of a bundle. Only this module makes and parses them.

A bundle has this layout:

    bundle.json
    models/<model>/<version>/            SavedModel, read by TensorFlow Serving
    tflite/<model>/<version>/            <model>-<variant>.tflite
    onnx/<model>/<version>.onnx
    golden/<model>/<version>.npz
    serving/ k8s/ docker/ smoke/ report.html openapi.json
    attestations/                        what `tfbundle sign` writes; bundle.json does not list it
        bom.cdx.json  provenance/<model>/<version>.intoto.json  signature.sigstore.json

Paths that TensorFlow Serving prescribes name the file of its source.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import UsageError

LARGEST_VERSION = 2**63 - 1
"""The largest version that TensorFlow Serving knows (apis/model.proto: google.protobuf.Int64Value)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,62}")


def check_model_name(name: str) -> str:
    """Return the name if it can be a folder, a segment of a URL and part of Kubernetes names.

    Raises:
        UsageError: the name has a character that one of these cannot hold, or has `..` in it.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise UsageError(
            f"The model name {name!r} cannot be used as a folder and URL name.",
            fix="use at most 63 letters, digits, '_', '-' and single '.', starting with a letter or digit (e.g. resnet18)",
            code="TFB1003",
        )
    return name


def parse_version(text: str) -> int | None:
    """Return the version that a folder name stands for, or None if tfbundle writes no such name (`1`, `2`, …)."""
    canonical = text.isascii() and text.isdecimal() and not text.startswith("0") and len(text) <= len(str(LARGEST_VERSION))
    return int(text) if canonical and int(text) <= LARGEST_VERSION else None


@dataclass(frozen=True)
class BundleLayout:
    """The paths in the bundle at `root`. Nothing here creates a folder; only the look-ups of versions read the disk."""

    root: Path

    @property
    def manifest(self) -> Path:
        """The manifest, bundle.json."""
        return self.root / "bundle.json"

    @property
    def models_dir(self) -> Path:
        """The folder of all SavedModels."""
        return self.root / "models"

    def model_dir(self, model: str) -> Path:
        """Return the folder of a model's versions: TensorFlow Serving's `base_path`."""
        return self.models_dir / model

    def version_dir(self, model: str, version: int) -> Path:
        """Return the folder of a SavedModel."""
        return self.model_dir(model) / str(version)

    def warmup(self, model: str, version: int) -> Path:
        """Return the file of warm-up records (TF Serving: servables/tensorflow/saved_model_warmup_util.cc)."""
        return self.version_dir(model, version) / "assets.extra" / "tf_serving_warmup_requests"

    def fast_path_file(self, model: str, version: int) -> Path:
        """Return the .tflite file beside a SavedModel (TF Serving: servables/tensorflow/saved_model_bundle_factory.cc)."""
        return self.version_dir(model, version) / "model.tflite"

    def tflite_dir(self, model: str, version: int) -> Path:
        """Return the folder of a version's TFLite files."""
        return self.root / "tflite" / model / str(version)

    def tflite_file(self, model: str, version: int, variant: str) -> Path:
        """Return the file of a TFLite variant."""
        return self.tflite_dir(model, version) / f"{model}-{variant}.tflite"

    def onnx_file(self, model: str, version: int, signature: str | None = None) -> Path:
        """Return the ONNX file of serving_default, or of a further signature: `1.embed.onnx`."""
        part = f".{signature}" if signature else ""
        return self.root / "onnx" / model / f"{version}{part}.onnx"

    def golden_file(self, model: str, version: int) -> Path:
        """Return the file of a version's golden data."""
        return self.root / "golden" / model / f"{version}.npz"

    def version_parts(self, model: str, version: int) -> list[Path]:
        """Return the files and folders of a version that exist, the SavedModel last."""
        onnx = sorted((self.root / "onnx" / model).glob(f"{version}.*"))
        others = (self.golden_file(model, version), self.tflite_dir(model, version))
        return [p for p in (*onnx, *others, self.version_dir(model, version)) if p.exists()]

    @property
    def version_folders(self) -> tuple[Path, ...]:
        """The folders that hold the parts of versions: a folder for each model, with files and folders for each version."""
        return tuple(self.root / part for part in ("models", "tflite", "onnx", "golden"))

    @property
    def serving_dir(self) -> Path:
        """The configuration of the server."""
        return self.root / "serving"

    @property
    def k8s_dir(self) -> Path:
        """The Kubernetes manifests."""
        return self.root / "k8s"

    @property
    def docker_dir(self) -> Path:
        """The Docker files."""
        return self.root / "docker"

    @property
    def smoke_dir(self) -> Path:
        """The smoke test, with the golden data it needs."""
        return self.root / "smoke"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.root / "report.html"

    @property
    def openapi(self) -> Path:
        """The OpenAPI document of the REST interface."""
        return self.root / "openapi.json"

    @property
    def lock(self) -> Path:
        """The lock file that a build holds."""
        return self.root / ".lock"

    def models(self) -> list[str]:
        """Return the names of the models that have a version on disk."""
        if not self.models_dir.is_dir():
            return []
        return sorted(p.name for p in self.models_dir.iterdir() if p.is_dir() and self.versions(p.name))

    def versions(self, model: str) -> list[int]:
        """Return the versions of a model on disk, ascending."""
        folder = self.model_dir(model)
        if not folder.is_dir():
            return []
        numbers = (parse_version(path.name) for path in folder.iterdir() if path.is_dir())
        return sorted(number for number in numbers if number is not None)

    @property
    def generated(self) -> tuple[Path, ...]:
        """The files and folders that every build and `tfbundle render` rewrite."""
        return (self.serving_dir, self.k8s_dir, self.docker_dir, self.smoke_dir, self.report, self.openapi)

    def taken_versions(self, model: str) -> set[int]:
        """Return the version numbers that any part of the model on disk already has."""
        folders = (part / model for part in self.version_folders)
        names = (p.name.split(".")[0] for folder in folders if folder.is_dir() for p in folder.iterdir())
        return {number for number in map(parse_version, names) if number is not None}

    @property
    def attestations_dir(self) -> Path:
        """The signature, and the papers of the supply chain that it covers."""
        return self.root / "attestations"

    def provenance_file(self, model: str, version: int) -> Path:
        """Return the file of a version's provenance (SLSA, as an in-toto statement)."""
        return self.attestations_dir / "provenance" / model / f"{version}.intoto.json"

    @property
    def bom(self) -> Path:
        """The bill of materials (CycloneDX)."""
        return self.attestations_dir / "bom.cdx.json"

    def papers(self, versions: Mapping[str, Iterable[int]]) -> list[Path]:
        """Return the bill of materials and the provenance of each version: what a signature covers beside bundle.json's files."""
        return [self.bom, *(self.provenance_file(model, n) for model, numbers in versions.items() for n in sorted(numbers))]

    @property
    def signature(self) -> Path:
        """The signature of the bundle's files, a sigstore bundle."""
        return self.attestations_dir / "signature.sigstore.json"

    def relative(self, path: Path) -> str:
        """Return a path as bundle.json writes it: relative to the root, with forward slashes."""
        return path.relative_to(self.root).as_posix()


_VERSIONED = re.compile(r"(?:models|tflite|onnx|golden)/(?P<model>[^/]+)/(?P<version>\d+)(?:[/.].*)?", re.DOTALL)


def version_of(relative: str) -> tuple[str, int] | None:
    """Return the model and version that a path of bundle.json belongs to, or None for a generated file."""
    match = _VERSIONED.fullmatch(relative)
    number = parse_version(match["version"]) if match else None
    return (match["model"], number) if match and number is not None else None

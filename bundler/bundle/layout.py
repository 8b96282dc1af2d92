"""The paths of a bundle: the one module that makes and parses them.

    bundle.json
    models/<model>/<version>/            SavedModel, read by TensorFlow Serving
    tflite/<model>/<version>/            <model>-<variant>.tflite
    onnx/<model>/<version>.onnx
    golden/<model>/<version>.npz
    serving/ k8s/ docker/ smoke/ report.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import UsageError

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,62}$")


def check_model_name(name: str) -> str:
    """A model name becomes a folder, a URL segment and part of Kubernetes names.

    Raises:
        UsageError: it has a character that one of these cannot hold, or is `.`/`..`-like.
    """
    if not _NAME.match(name) or ".." in name:
        raise UsageError(
            f"The model name {name!r} cannot be used as a folder and URL name.",
            fix="use letters, digits, '_', '-' and single '.', beginning with a letter or digit, "
            "at most 63 (e.g. resnet18)",
        )
    return name


def parse_version(text: str) -> int | None:
    """The version a folder name stands for, or None if it is not one that we write (`1`, `2`, …)."""
    canonical = text.isascii() and text.isdecimal() and not text.startswith("0")
    return int(text) if canonical else None


@dataclass(frozen=True)
class BundleLayout:
    """Where things are in the bundle at `root`. Makes no folder; only what looks for versions reads any."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / "bundle.json"

    @property
    def models_dir(self) -> Path:
        return self.root / "models"

    def model_dir(self, model: str) -> Path:
        """TensorFlow Serving's `base_path`."""
        return self.models_dir / model

    def version_dir(self, model: str, version: int) -> Path:
        return self.model_dir(model) / str(version)

    def warmup(self, model: str, version: int) -> Path:
        """Path fixed by TensorFlow Serving (servables/tensorflow/saved_model_warmup_util.cc)."""
        return self.version_dir(model, version) / "assets.extra" / "tf_serving_warmup_requests"

    def fast_path_file(self, model: str, version: int) -> Path:
        """Path fixed by TensorFlow Serving (servables/tensorflow/saved_model_bundle_factory.cc)."""
        return self.version_dir(model, version) / "model.tflite"

    def tflite_dir(self, model: str, version: int) -> Path:
        return self.root / "tflite" / model / str(version)

    def tflite_file(self, model: str, version: int, variant: str) -> Path:
        return self.tflite_dir(model, version) / f"{model}-{variant}.tflite"

    def onnx_file(self, model: str, version: int, signature: str | None = None) -> Path:
        """The ONNX file of serving_default, or of a further signature: `1.embed.onnx`."""
        part = f".{signature}" if signature else ""
        return self.root / "onnx" / model / f"{version}{part}.onnx"

    def golden_file(self, model: str, version: int) -> Path:
        return self.root / "golden" / model / f"{version}.npz"

    def version_parts(self, model: str, version: int) -> list[Path]:
        """What is on disk of one version, the SavedModel last."""
        onnx = sorted((self.root / "onnx" / model).glob(f"{version}.*"))
        others = (self.golden_file(model, version), self.tflite_dir(model, version))
        return [p for p in (*onnx, *others, self.version_dir(model, version)) if p.exists()]

    @property
    def serving_dir(self) -> Path:
        return self.root / "serving"

    @property
    def k8s_dir(self) -> Path:
        return self.root / "k8s"

    @property
    def docker_dir(self) -> Path:
        return self.root / "docker"

    @property
    def smoke_dir(self) -> Path:
        return self.root / "smoke"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def lock(self) -> Path:
        return self.root / ".lock"

    def models(self) -> list[str]:
        """Names of the models that have a version on disk."""
        if not self.models_dir.is_dir():
            return []
        return sorted(p.name for p in self.models_dir.iterdir() if p.is_dir() and self.versions(p.name))

    def versions(self, model: str) -> list[int]:
        """Versions of a model on disk, ascending."""
        folder = self.model_dir(model)
        if not folder.is_dir():
            return []
        found = (parse_version(p.name) for p in folder.iterdir() if p.is_dir())
        return sorted(v for v in found if v is not None)

    @property
    def generated(self) -> tuple[Path, ...]:
        """What every build and `render` write anew."""
        return (self.serving_dir, self.k8s_dir, self.docker_dir, self.smoke_dir, self.report)

    def taken_versions(self, model: str) -> set[int]:
        """Numbers that any part of the model on disk already has."""
        folders = (self.root / part / model for part in ("models", "tflite", "onnx", "golden"))
        names = (p.name.split(".")[0] for folder in folders if folder.is_dir() for p in folder.iterdir())
        return {number for number in map(parse_version, names) if number is not None}

    def relative(self, path: Path) -> str:
        """A path as it stands in bundle.json: relative to the root, with forward slashes."""
        return path.relative_to(self.root).as_posix()


_VERSIONED = re.compile(r"^(?:models|tflite|onnx|golden)/(?P<model>[^/]+)/(?P<version>\d+)(?:[/.].*)?$")


def version_of(relative: str) -> tuple[str, int] | None:
    """The model and version that a path of bundle.json belongs to, or None for a generated file."""
    match = _VERSIONED.match(relative)
    number = parse_version(match["version"]) if match else None
    return (match["model"], number) if match and number is not None else None

"""Bundles of a dozen small files, published as a build does, without a model that runs."""

from __future__ import annotations

from pathlib import Path

from bundler.bundle.manifest import Manifest
from bundler.bundle.staging import Staging
from tests.bundler.bundle.records import SPEC, record

MODEL = "digits"


def build(root: Path, text: str = "weights", version: int | None = None) -> Path:
    """Add a version to the bundle at `root`, which may be new, and return `root`. Other texts give other weights."""
    with Staging(root) as staging:
        layout = staging.layout
        number = staging.next_version(MODEL, version)
        folder = layout.version_dir(MODEL, number)
        files = {
            folder / "saved_model.pb": f"graph {number}",
            folder / "variables" / "variables.index": f"index {number}",
            folder / "variables" / "variables.data-00000-of-00001": f"{text} {number} " * 100,
            layout.onnx_file(MODEL, number): f"onnx {text} {number}",
            layout.golden_file(MODEL, number): f"golden {number}",
            layout.tflite_file(MODEL, number, "float32"): f"tflite {text} {number}",
            layout.serving_dir / "models.config": f"serves {number}",
            layout.k8s_dir / "base" / "deployment.yaml": "the same in all versions",
            layout.report: f"report of {number}",
        }
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        (folder / "assets").mkdir()
        before = staging.manifest or Manifest(spec=SPEC)
        staging.publish(before.with_version(MODEL, number, record()))
    return root

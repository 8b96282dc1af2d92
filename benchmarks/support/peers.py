"""Converts the models with other converters, and keeps the results in a cache folder keyed by all versions.

The cache is `$TFBUNDLE_BENCH_CACHE` or ~/.cache/tfbundle-bench. onnx2tf pins an older TensorFlow and litert-torch needs a newer
protobuf, so each has a separate environment there. onnx2tf takes minutes per model, so it runs only once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.support.common import CACHE, ROOT, BenchmarkError, Cost, run
from benchmarks.support.environments import ENVIRONMENTS, LITERT_TORCH, ONNX2TF, once

ONNX_TF = "1.10.0"
COST = "conversion.json"


@dataclass(frozen=True)
class Conversion:
    """A SavedModel that a converter wrote, and the cost of its whole process at that time."""

    path: Path
    seconds: float
    peak_mb: float


def exports(model: str) -> Path:
    """Return the folder with the model in every form (see benchmarks.support.exports)."""
    return once(_cache() / "sources" / model, lambda path: _export(model, path))


def export(model: str, form: str = "onnx") -> Path:
    """Return the file with one form of the model, such as `onnx`, `opset15.onnx` or `npz`.

    Raises:
        BenchmarkError: torch cannot write it.
    """
    path = exports(model) / f"{model}.{form}"
    if not path.exists():
        raise BenchmarkError(f"torch's exporter cannot write {path.name}")
    return path


def onnx_tf_saved_model(model: str) -> Conversion:
    """Return onnx-tf's SavedModel of the newest export that it can convert.

    Raises:
        BenchmarkError: onnx-tf is not installed or cannot convert the model.
    """
    folder = _cache() / f"onnx-tf-{ONNX_TF}-tensorflow-{version('tensorflow')}"
    return _first(folder / model, model, ("opset15.onnx", "opset12.onnx"), _onnx_tf)


def onnx2tf_saved_model(model: str) -> Conversion:
    """Return onnx2tf's SavedModel of the newest export that it can convert.

    Raises:
        BenchmarkError: onnx2tf cannot be installed or cannot convert the model.
    """
    ENVIRONMENTS["onnx2tf"].command("onnx2tf")  # a failure to install it is not a failure to convert the model
    return _first(_cache() / f"onnx2tf-{ONNX2TF}" / model, model, ("onnx", "opset15.onnx", "static.onnx"), _onnx2tf)


def forget(model: str) -> None:
    """Remove the SavedModels of a model from the cache, so that the next conversion is measured in this run."""
    for folder in (f"onnx-tf-{ONNX_TF}-tensorflow-{version('tensorflow')}", f"onnx2tf-{ONNX2TF}"):
        shutil.rmtree(_cache() / folder / model, ignore_errors=True)


def _first(path: Path, model: str, forms: Sequence[str], convert: Callable[[Path, Path], Cost]) -> Conversion:
    """Return the SavedModel at `path`, made from the first form that `convert` accepts; its cost is stored in the same folder."""
    saved_model = once(path, lambda staging: _try(staging, model, forms, convert), remember_failure=True)
    cost = json.loads((saved_model / COST).read_text("utf-8"))
    return Conversion(saved_model, cost["seconds"], cost["peak_mb"])


def _try(staging: Path, model: str, forms: Sequence[str], convert: Callable[[Path, Path], Cost]) -> None:
    for form in forms:
        try:
            cost = convert(export(model, form), staging)
        except BenchmarkError:
            shutil.rmtree(staging, ignore_errors=True)
            if form == forms[-1]:
                raise
        else:
            (staging / COST).write_text(json.dumps({"seconds": cost.seconds, "peak_mb": cost.peak_mb, "form": form}), "utf-8")
            return


def litert_torch_file(model: str) -> Path:
    """Return litert-torch's float32 .tflite file.

    Raises:
        BenchmarkError: litert-torch cannot be installed or cannot convert the model.
    """
    path = _cache() / f"litert-torch-{LITERT_TORCH}" / f"{model}.tflite"
    return once(path, lambda staging: _litert_torch(model, staging), remember_failure=True)


def onnx2tf_file(model: str) -> Path:
    """Return onnx2tf's float32 .tflite file.

    Raises:
        BenchmarkError: onnx2tf cannot be installed or cannot convert the model.
    """
    path = _cache() / f"onnx2tf-{ONNX2TF}-tflite" / f"{model}.tflite"
    ENVIRONMENTS["onnx2tf"].command("onnx2tf")  # a failure to install it is not a failure to convert the model
    return once(path, lambda staging: _onnx2tf_tflite(model, staging), remember_failure=True)


def _cache() -> Path:
    """Return the folder of everything that is made from the models, keyed by all versions that the models depend on."""
    unet = hashlib.sha256((ROOT / "examples" / "unet.py").read_bytes()).hexdigest()[:8]
    return CACHE / f"torch-{version('torch')}-timm-{version('timm')}-unet-{unet}"


def _onnx_tf(file: Path, path: Path) -> Cost:
    script = (
        "import sys, pathlib; from bundler.converters.onnx_tf import OnnxTfConverter as C; "
        "C().convert({'serving_default': pathlib.Path(sys.argv[1])}).save(pathlib.Path(sys.argv[2]))"
    )
    return run([sys.executable, "-c", script, str(file), str(path)])


def _onnx2tf(file: Path, path: Path) -> Cost:
    cost = _onnx2tf_command(file, path)
    for tflite in path.glob("*.tflite"):
        tflite.unlink()
    if not (path / "saved_model.pb").exists():
        raise BenchmarkError(f"onnx2tf wrote no SavedModel for {file}")
    return cost


def _onnx2tf_tflite(model: str, path: Path) -> None:
    """Convert the first export that onnx2tf accepts."""
    try:
        _run_onnx2tf_for_tflite(export(model), path)
    except BenchmarkError:
        _run_onnx2tf_for_tflite(export(model, "static.onnx"), path)


def _run_onnx2tf_for_tflite(file: Path, path: Path) -> None:
    folder = path.with_name(f"{path.name}.out")
    try:
        _onnx2tf_command(file, folder)
        files = list(folder.glob("*_float32.tflite"))
        if not files:
            raise BenchmarkError(f"onnx2tf wrote no float32 TFLite file for {file}")
        files[0].rename(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _export(model: str, path: Path) -> None:
    path.mkdir()
    run([sys.executable, "-m", "benchmarks.support.exports", model, str(path)])


def _litert_torch(model: str, path: Path) -> None:
    python, script = ENVIRONMENTS["litert-torch"].command("python"), Path(__file__).with_name("litert_torch_process.py")
    run([python, str(script), str(export(model, "pt2")), str(export(model, "npz")), str(path)])


def _onnx2tf_command(file: Path, path: Path) -> Cost:
    command = ENVIRONMENTS["onnx2tf"].command("onnx2tf")
    scratch = path.with_name(f"{path.name}.cwd")  # it writes into the working directory
    scratch.mkdir(exist_ok=True)
    # For a fixed batch, onnx2tf runs the model on sample images, and downloads them if they are not here.
    images = np.random.default_rng(0).random((20, 128, 128, 3), dtype=np.float32)
    np.save(scratch / "calibration_image_sample_data_20x128x128x3_float32.npy", images)
    try:
        return run([command, "-i", str(file), "-o", str(path), "-osd", "-n"], env={"TF_CPP_MIN_LOG_LEVEL": "3"}, cwd=scratch)
    finally:
        shutil.rmtree(scratch)

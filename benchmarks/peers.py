"""SavedModels and TFLite files of the same models made by other converters, kept in a cache folder keyed by all versions.

The cache is `$TFBUNDLE_BENCH_CACHE` or ~/.cache/tfbundle-bench. onnx2tf pins an older TensorFlow, and litert-torch
wants a newer protobuf, so each lives in an environment of its own there; onnx2tf takes minutes a model, so it runs once.

    python -m benchmarks.peers [MODEL…]         make everything that is missing
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.common import CACHE, ROOT, BenchmarkError, Cost, run

ONNX2TF = "1.29.24"
ONNX_TF = "1.10.0"
LITERT_TORCH = "0.10.0"
COST = "conversion.json"


@dataclass(frozen=True)
class Made:
    """What a converter wrote, and what its whole process took when it did."""

    path: Path
    seconds: float
    peak_mb: float


def sources(model: str) -> Path:
    """The folder with the model in every form (see benchmarks.sources)."""
    return _once(_exports() / "sources" / model, lambda path: _sources(model, path))


def source(model: str, form: str = "onnx") -> Path:
    """One form of the model, such as `onnx`, `opset15.onnx` or `npz`.

    Raises:
        BenchmarkError: torch cannot write it.
    """
    path = sources(model) / f"{model}.{form}"
    if not path.exists():
        raise BenchmarkError(f"torch's exporter cannot write {path.name}")
    return path


def onnx_tf_saved_model(model: str) -> Made:
    """onnx-tf's SavedModel of the newest export that it can convert.

    Raises:
        BenchmarkError: onnx-tf is not installed or cannot convert the model.
    """
    folder = _exports() / f"onnx-tf-{ONNX_TF}-tensorflow-{version('tensorflow')}"
    return _first(folder / model, model, ("opset15.onnx", "opset12.onnx"), _onnx_tf)


def onnx2tf_saved_model(model: str) -> Made:
    """onnx2tf's SavedModel of the newest export that it can convert.

    Raises:
        BenchmarkError: onnx2tf cannot be installed or cannot convert the model.
    """
    _onnx2tf_environment()
    return _first(_exports() / f"onnx2tf-{ONNX2TF}" / model, model, ("onnx", "opset15.onnx", "static.onnx"), _onnx2tf)


def forget(model: str) -> None:
    """Let the SavedModels of a model be made again, so that what they cost is of this run."""
    for folder in (f"onnx-tf-{ONNX_TF}-tensorflow-{version('tensorflow')}", f"onnx2tf-{ONNX2TF}"):
        shutil.rmtree(_exports() / folder / model, ignore_errors=True)


def _first(path: Path, model: str, forms: Sequence[str], convert: Callable[[Path, Path], Cost]) -> Made:
    """The SavedModel at `path`, made of the first form that `convert` manages, and its cost beside it."""
    made = _once(path, lambda staging: _try(staging, model, forms, convert), remember_failure=True)
    cost = json.loads((made / COST).read_text("utf-8"))
    return Made(made, cost["seconds"], cost["peak_mb"])


def _try(staging: Path, model: str, forms: Sequence[str], convert: Callable[[Path, Path], Cost]) -> None:
    for form in forms:
        try:
            cost = convert(source(model, form), staging)
        except BenchmarkError:
            shutil.rmtree(staging, ignore_errors=True)
            if form == forms[-1]:
                raise
        else:
            (staging / COST).write_text(json.dumps({"seconds": cost.seconds, "peak_mb": cost.peak_mb, "form": form}), "utf-8")
            return


def litert_torch_file(model: str) -> Path:
    """litert-torch's float32 .tflite file.

    Raises:
        BenchmarkError: litert-torch cannot be installed or cannot convert the model.
    """
    path = _exports() / f"litert-torch-{LITERT_TORCH}" / f"{model}.tflite"
    return _once(path, lambda staging: _litert_torch(model, staging), remember_failure=True)


def onnx2tf_file(model: str) -> Path:
    """onnx2tf's float32 .tflite file.

    Raises:
        BenchmarkError: onnx2tf cannot be installed or cannot convert the model.
    """
    path = _exports() / f"onnx2tf-{ONNX2TF}-tflite" / f"{model}.tflite"
    _onnx2tf_environment()
    return _once(path, lambda staging: _onnx2tf_tflite(model, staging), remember_failure=True)


def _exports() -> Path:
    """Keyed by all that the architectures depend on; all contenders are made of what is in this folder."""
    unet = hashlib.sha256((ROOT / "examples" / "unet.py").read_bytes()).hexdigest()[:8]
    return CACHE / f"torch-{version('torch')}-timm-{version('timm')}-unet-{unet}"


def _once(path: Path, make: Callable[[Path], None], *, remember_failure: bool = False) -> Path:
    """`path`, made if it is not there. A failure that took minutes is kept too, in `<path>.failed`."""
    failed = path.with_name(f"{path.name}.failed")
    if failed.exists():
        raise BenchmarkError(f"{failed.read_text('utf-8')} (kept in {failed.name})")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_name(f".{os.getpid()}-{path.name}")
        try:
            make(staging)
        except BenchmarkError as exc:
            shutil.rmtree(staging, ignore_errors=True)
            if remember_failure:
                failed.write_text(reason(str(exc)), "utf-8")
            raise
        staging.rename(path)
    return path


def reason(message: str) -> str:
    """The last line that names an error, else the last of all."""
    lines = [line.strip() for line in message.strip().splitlines()]
    return next((line for line in reversed(lines) if re.search(r"\b\w*[Ee]rror\b", line)), lines[-1])[:200]


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
    """Of the first export that it can convert."""
    try:
        _run_onnx2tf_for_tflite(source(model), path)
    except BenchmarkError:
        _run_onnx2tf_for_tflite(source(model, "static.onnx"), path)


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


def _sources(model: str, path: Path) -> None:
    path.mkdir()
    run([sys.executable, "-m", "benchmarks.sources", model, str(path)])


def _litert_torch(model: str, path: Path) -> None:
    python, script = _litert_torch_environment() / "bin" / "python", ROOT / "benchmarks" / "litert_torch_convert.py"
    run([str(python), str(script), str(source(model, "pt2")), str(source(model, "npz")), str(path)])


def _litert_torch_environment() -> Path:
    """A virtual environment with litert-torch and our own torch, whose files it reads (about 2 GB)."""
    path = CACHE / f"litert-torch-{LITERT_TORCH}-torch-{version('torch')}-python-{platform.python_version()}"
    return _once(path / "ready", lambda marker: _install_litert_torch(path, marker)).parent


def _install_litert_torch(path: Path, marker: Path) -> None:
    venv.create(path, with_pip=True, clear=False)
    # Without the pin pip takes the newest torch, with gigabytes of CUDA.
    torch = version("torch").partition("+")[0]
    run([str(path / "bin" / "pip"), "install", "--quiet", f"litert-torch=={LITERT_TORCH}", f"torch=={torch}"])
    run([str(path / "bin" / "python"), "-c", "import litert_torch"])
    marker.touch()


def _onnx2tf_command(file: Path, path: Path) -> Cost:
    command = _onnx2tf_environment() / "bin" / "onnx2tf"
    scratch = path.with_name(f"{path.name}.cwd")  # it writes into the working directory
    scratch.mkdir(exist_ok=True)
    # For a fixed batch it tries the model on sample images, and downloads them if they do not lie here.
    images = np.random.default_rng(0).random((20, 128, 128, 3), dtype=np.float32)
    np.save(scratch / "calibration_image_sample_data_20x128x128x3_float32.npy", images)
    try:
        return run([str(command), "-i", str(file), "-o", str(path), "-osd", "-n"], env={"TF_CPP_MIN_LOG_LEVEL": "3"}, cwd=scratch)
    finally:
        shutil.rmtree(scratch)


def _onnx2tf_environment() -> Path:
    """A virtual environment with onnx2tf, made on first use (about 2 GB)."""
    path = CACHE / f"onnx2tf-{ONNX2TF}-python-{platform.python_version()}"
    return _once(path / "ready", lambda marker: _install_onnx2tf(path, marker)).parent


def _install_onnx2tf(path: Path, marker: Path) -> None:
    venv.create(path, with_pip=True, clear=False)
    run([str(path / "bin" / "pip"), "install", "--quiet", f"onnx2tf=={ONNX2TF}"])
    run([str(path / "bin" / "onnx2tf"), "--version"])
    marker.touch()


def main(models: list[str]) -> None:
    from benchmarks.models import NAMES

    for model in models or list(NAMES):
        for name, make in (("onnx-tf", onnx_tf_saved_model), ("onnx2tf", onnx2tf_saved_model)):
            try:
                print(f"{model}: {name}: {make(model).path}", flush=True)
            except BenchmarkError as exc:
                print(f"{model}: {name}: {exc}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

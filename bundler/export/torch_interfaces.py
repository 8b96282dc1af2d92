"""Interfaces of torch and onnxscript that are not public, or not in every supported release.

Everything that the export uses beyond torch's documented API is looked up here. An interface that a supported release lacks has a
fallback, named beside it; one without which nothing can be exported is checked by `check`, whose message names the release.

docs/compatibility.md lists them, and `make compat` runs the models that use them in several releases.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from typing import Any

import torch

from bundler.errors import ExportError

OLDEST = "2.8"
"""The oldest torch in which all of REQUIRED exist."""

REQUIRED = (
    ("torch.onnx.ops", "symbolic_multi_out"),
    ("torch.fx.experimental.symbolic_shapes", "uninteresting_files"),
    ("torch.nn.utils.stateless", "_reparametrize_module"),
    ("torch.utils._python_dispatch", "TorchDispatchMode"),
    ("torch.utils._pytree", "tree_map"),
    ("torch._ops", "OpOverload"),
    ("torch._C", "_jit_pass_inline"),
    ("onnxscript.evaluator", "default"),
)
"""Modules and names that the export needs and that have no replacement."""


@cache
def check() -> None:
    """Check that this torch and onnxscript have every interface that the export needs.

    Raises:
        ExportError: one is missing, or onnxscript does not fit onnx-ir; the message names the installed releases.
    """
    for module, name in REQUIRED:
        try:
            found = hasattr(importlib.import_module(module), name)
        except ImportError:
            found = False
        if not found:
            package = module.partition(".")[0]
            installed = importlib.import_module(package).__version__
            raise ExportError(
                f"{package} {installed} has no {module}.{name}, which the export needs.",
                fix=f"pip install 'torch>={OLDEST}' 'onnxscript>=0.6'",
                code="TFB8002",
            )
    script, ir = version("onnxscript"), version("onnx-ir")
    if _release(script) < (0, 7) and _release(ir) >= (1, 0):
        raise ExportError(
            f"onnxscript {script} cannot write models with onnx-ir {ir}.", fix="pip install 'onnxscript>=0.7'", code="TFB8002"
        )


def _release(text: str) -> tuple[int, ...]:
    """Return the first two numbers of a version."""
    return tuple(map(int, text.split(".")[:2]))


def import_triton() -> None:
    """Import triton before TensorFlow, if torch has it: torch imports it when a model is exported.

    triton comes with torch's CUDA packages. From triton 3.8 on (torch 2.14), `import tensorflow, triton` ends Python with a
    segmentation fault (TensorFlow 2.21), while the other order works.

    Raises:
        ExportError: TensorFlow has been imported already.
    """
    if "triton" in sys.modules or importlib.util.find_spec("triton") is None:
        return
    if "tensorflow" not in sys.modules:
        importlib.import_module("triton")
        return
    release = version("triton")
    if _release(release) >= (3, 8):
        raise ExportError(
            f"triton {release} would crash Python, because TensorFlow has been imported before it.",
            fix="write `import triton` above `import tensorflow`, or build with the tfbundle command",
            code="TFB8002",
        )


@cache
def exports_while_loop() -> bool:
    """Return whether torch's exporter can write `while_loop` to ONNX, as it does from 2.11 on."""
    try:
        module = importlib.import_module("torch.onnx._internal.exporter._torchlib.ops.hop")
    except ImportError:
        return True  # moved: the export itself says what it cannot write
    return hasattr(module, "higher_order_while_loop")


def clear_dispatch_cache(operator: torch._ops.OpOverload) -> None:
    """Make torch look up an operator's kernels anew, if this release caches them."""
    kernels = getattr(operator, "_dispatch_cache", None)
    if kernels is not None:
        kernels.clear()


_operator_tables: dict[object, Any] = {}


@contextlib.contextmanager
def operators_read_once() -> Iterator[None]:
    """Let `torch.onnx.export` make its table of operators once per process and opset.

    torch makes one in each export and reads the source of 500 functions of onnxscript for it, which takes longer than the export
    of a small model. Each export gets a copy of the table, to which it adds the custom operators.
    """
    try:
        registry: Any = importlib.import_module("torch.onnx._internal.exporter._registration").ONNXRegistry
        original = vars(registry)["from_torchlib"]
    except (ImportError, AttributeError, KeyError):  # moved: each export makes its own table
        yield
        return
    make = registry.from_torchlib

    def from_torchlib(*args: Any, **kwargs: Any) -> Any:
        key = (args, tuple(sorted(kwargs.items())))
        if key not in _operator_tables:
            _operator_tables[key] = make(*args, **kwargs)
        table = copy.copy(_operator_tables[key])
        table.functions = {target: list(functions) for target, functions in table.functions.items()}
        return table

    registry.from_torchlib = staticmethod(from_torchlib)
    try:
        yield
    finally:
        registry.from_torchlib = original

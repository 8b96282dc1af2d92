"""torch's two ONNX exporters: dynamo, and the older TorchScript exporter where dynamo cannot be used.

1. A module or an ExportedProgram at opset 18 or newer goes through dynamo, whose operators are written for opset 18.
2. TorchScript, and any opset below 18, goes through the TorchScript exporter, which writes up to opset 20.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import uninteresting_files
from torch.nn.attention import SDPBackend, sdpa_kernel

from bundler.errors import ExportError, UsageError
from bundler.export import half_norms, substitutes, torch_interfaces
from bundler.export.custom_ops import translation_table
from bundler.export.failure import SIZES_LOGGER, explain
from bundler.export.flat import FlatModule
from bundler.export.recurrent import recurrent_operators
from bundler.export.rotary import expand_rotary_caches
from bundler.export.script import flat_script
from bundler.process import interrupts
from bundler.process.causes import chain_of
from bundler.process.logs import silence
from bundler.values.signature import TensorSpec

NEWEST = 23
"""Here Attention, RMSNormalization, GroupNormalization, Gelu, LayerNormalization and LSTM are one node each (torch 2.13)."""
OLDEST_DYNAMO = 18
NEWEST_TORCHSCRIPT = 20

_ONLY_4D = "only 4D query, key, and value are supported"


@dataclass(frozen=True)
class Job:
    """One call of an exporter.

    Attributes:
        tensors: example inputs.
        inputs: specs in which every dynamic dim has a name.
        outputs: names of the outputs.
        title: class of the model, for messages.
        translations: PyTorch operators with the ONNX domain and operator that they are written as.
    """

    module: FlatModule | torch.export.ExportedProgram
    tensors: tuple[Tensor, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    opset: int
    title: str
    translations: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def choose_opset(requested: int | None, limit: int | None, *, torchscript: bool) -> int:
    """Return the opset to write: the requested one, or the newest that torch writes well and the converter reads.

    Args:
        requested: the user's `--opset`.
        limit: the newest opset that the converter reads; None: any.
        torchscript: whether the TorchScript exporter writes it.

    Raises:
        UsageError: the requested opset is newer than the converter reads or the exporter writes.
    """
    newest = NEWEST_TORCHSCRIPT if torchscript else NEWEST
    if requested is None:
        return min(newest, limit or newest)
    if limit is not None and requested > limit:
        raise UsageError(
            f"The converter reads ONNX up to opset {limit}; --opset is {requested}.", fix="omit --opset", code="TFB1205"
        )
    if requested > newest:
        kind = "TorchScript" if torchscript else "PyTorch"
        raise UsageError(
            f"torch writes {kind} models up to opset {newest}; --opset is {requested}.",
            fix="omit --opset",
            code="TFB1205",
        )
    return requested


def write(job: Job, path: Path, *, torchscript: bool) -> ir.Model:
    """Export to an ONNX graph, without printing anything.

    Args:
        job: the model, its example inputs and its names.
        path: a file that the TorchScript exporter writes; with more than 2 GB of weights, these are written beside it.
        torchscript: whether the TorchScript exporter must be used.

    Raises:
        ExportError: torch failed; the message has the user's line and names the file with torch's report.
    """
    torch_interfaces.check()
    torch_interfaces.import_triton()
    if torchscript or job.opset < OLDEST_DYNAMO:
        return _write_torchscript(job, path)
    try:
        model = _write_dynamo(job)
    except _Needs4dAttention:
        assert isinstance(job.module, FlatModule)
        job.module.attention_4d = True
        try:
            model = _write_dynamo(job)
        finally:
            job.module.attention_4d = False
    opset = model.opset_imports.get("", 0)
    if opset != job.opset:
        raise ExportError(
            f"torch wrote {job.title} at opset {opset} instead of {job.opset}.",
            fix="omit --opset, or use --opset 18",
            code="TFB1205",
        )
    return model


class _Needs4dAttention(Exception):  # noqa: N818
    """The export must be repeated with 4-D attention. Users do not see this exception."""


def _write_dynamo(job: Job) -> ir.Model:
    with _reporting(job) as folder, recurrent_operators(), torch_interfaces.operators_read_once():
        options: dict[str, Any] = {
            "dynamo": True, "opset_version": job.opset, "input_names": [s.name for s in job.inputs],
            "output_names": list(job.outputs), "verbose": False, "report": True, "artifacts_dir": folder,
            "custom_translation_table": {**half_norms.translations(), **translation_table(job.translations)},
        }  # fmt: skip
        if isinstance(job.module, torch.export.ExportedProgram):
            program = torch.onnx.export(job.module, (), **options)
        else:
            shapes = tuple({a: spec.dims[a] for a in spec.dynamic_axes} or None for spec in job.inputs)
            program = torch.onnx.export(job.module, job.tensors, dynamic_shapes=(shapes,), **options)
        assert program is not None
        expand_rotary_caches(program.model)
        return program.model


def _write_torchscript(job: Job, path: Path) -> ir.Model:
    assert isinstance(job.module, FlatModule)
    axes = {s.name: {a: str(s.dims[a]) for a in s.dynamic_axes} for s in job.inputs if s.dynamic_axes}
    target: torch.nn.Module = job.module
    with _reporting(job):
        if isinstance(job.module.module, torch.jit.ScriptModule):
            target = flat_script(job.module.module, job.module.binding, job.module.method)
        torch.onnx.export(
            target, job.tensors, str(path), dynamo=False, opset_version=job.opset,
            input_names=[s.name for s in job.inputs], output_names=list(job.outputs), dynamic_axes=axes,
        )  # fmt: skip
    return ir.load(path)


@contextlib.contextmanager
def _reporting(job: Job) -> Iterator[Path]:
    """Yield a folder for torch's report, and turn an exception of torch into an ExportError that names the report.

    An interruption stays one, even if torch has made an error of its own from it.
    """
    with (
        tempfile.TemporaryDirectory(prefix="tfbundle-export-") as name,
        silence() as chatter,
        _logged_sizes(),
        _plain_attention(),
        _fresh_recurrence(),
        interrupts.watched() as interruption,
    ):
        try:
            yield Path(name)
        except Exception as exc:
            interruption.raise_if_caused(exc)
            if _ONLY_4D in _causes(exc) and isinstance(job.module, FlatModule) and not job.module.attention_4d:
                raise _Needs4dAttention from exc
            names = [spec.name for spec in job.inputs]
            raise explain(exc, job.title, names, Path(name), chatter.getvalue()) from exc


@contextlib.contextmanager
def _logged_sizes() -> Iterator[None]:
    """Let torch log where the model's code compares a size with a number, for the message of a failure.

    torch names the innermost line outside of its own files, which is that of the substitutes unless it skips them, too.
    """
    uninteresting_files().add(substitutes.__file__)  # a cached set
    logger = logging.getLogger(SIZES_LOGGER)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """Turn off fused kernels: those of nn.TransformerEncoder, which ONNX does not support, and those of attention.

    torch can choose different attention kernels for tracing and for decomposing. Their outputs then have different strides,
    and torch fails on a reshape behind them (2.13: "Cannot view a tensor with shape", with a bias that is a parameter).

    Gradients stay enabled: without them, torch.export fixes the length of an LSTM's sequence.
    """
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextlib.contextmanager
def _fresh_recurrence() -> Iterator[None]:
    """Make torch use the kernels that torch.onnx registers for an LSTM or GRU over a dynamic sequence.

    torch/export/_patches.py puts them into `py_kernels` without clearing the operator's dispatch cache. For every recurrent
    model of a process except the first, the ordinary kernel would run, which fixes the length (torch 2.13).
    """
    operators: tuple[Any, ...] = (torch.ops.aten.lstm.input, torch.ops.aten.gru.input)
    for operator in operators:
        torch_interfaces.clear_dispatch_cache(operator)
    try:
        yield
    finally:
        for operator in operators:
            torch_interfaces.clear_dispatch_cache(operator)


def _causes(exc: BaseException) -> str:
    return "\n".join(str(cause) for cause in chain_of(exc))


def check_real(tensors: Sequence[Tensor], title: str) -> None:
    """Check that no input or output is complex.

    torch's exporter writes complex numbers as pairs of real ones, which would contradict the signature.

    Raises:
        ExportError: a tensor is complex.
    """
    if any(tensor.is_complex() for tensor in tensors):
        raise ExportError(
            f"{title} has complex inputs or outputs, which torch cannot write to ONNX.",
            fix="use torch.view_as_real(x) for inputs and outputs, and torch.view_as_complex inside",
            code="TFB2007",
        )


def check_dynamic_inputs(model: ir.Model, specs: Sequence[TensorSpec], title: str) -> None:
    """Check that the graph has all dynamic dims of the specs.

    Raises:
        ExportError: torch has fixed a dim, because the model's code depends on its size.
    """
    by_name = {value.name: value for value in model.graph.inputs}
    for spec in specs:
        shape = by_name[spec.name].shape if spec.name in by_name else None
        for axis in spec.dynamic_axes:
            if shape is not None and isinstance(shape[axis], int):
                dim = spec.dims[axis]
                raise ExportError(
                    f"{title} fixes the dim {dim} of input {spec.name!r} (axis {axis}) to {shape[axis]}: its code "
                    "uses the size as a constant.",
                    fix=f"use x.shape[{axis}] or -1 in place of the number, or fix the dim: "
                    f"--input '{_fixed(spec, axis, shape[axis])}'",
                    code="TFB2304",
                )


def _fixed(spec: TensorSpec, axis: int, size: Any) -> TensorSpec:
    """Return the spec with one dim fixed."""
    dims = tuple(int(size) if index == axis else dim for index, dim in enumerate(spec.dims))
    return TensorSpec(spec.name, spec.dtype, dims)

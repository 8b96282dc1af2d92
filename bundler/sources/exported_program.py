"""`.pt2`: a program of torch.export, saved by torch.export.save."""

from __future__ import annotations

import importlib
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import ConstantArgument, InputKind
from torch.utils import _pytree as pytree

from bundler.errors import SourceError, UsageError
from bundler.graph.quantized_source import comes_quantized
from bundler.sources import LoadedModel
from bundler.sources.binding import Binding, Slot
from bundler.sources.example_inputs import random_inputs
from bundler.sources.files import file_provenance, find_file
from bundler.sources.pickles import check_exported_program
from bundler.sources.tensors import dtype_name, to_numpy
from bundler.spec.bundle_spec import ModelSpec
from bundler.values.arrays import Array
from bundler.values.signature import Dim, TensorSpec

_UNKNOWN = re.compile(r"resolve (torch\.ops\.\w+\.\w+)[.\w]* to an operator")


def load(model: ModelSpec, *, base: Path) -> LoadedModel:
    """Read the program; its dynamic dims are what it was exported with.

    torch does not save the names of dims: the first dynamic one of a first axis is `batch`, others are `dim_1` …,
    unless --input names them.

    Raises:
        SourceError: the file is damaged, or holds pickles that are not trusted.
        UsageError: --input contradicts the program.
    """
    path = find_file(model.source, base, what="The exported program")
    check_exported_program(path, trust=model.trust_pickle)
    program = _read(path)
    binding, shapes = _signature(program)
    specs = _name_dims(binding.names, shapes, [TensorSpec.parse(text) for text in model.inputs])
    examples = _examples(program, binding, specs)
    count = sum(tensor.numel() for tensor in program.parameters())
    facts = {"source": model.source, **file_provenance(path), "class": path.stem, "parameters": count}
    return LoadedModel(program, None, examples, specs, {**facts, "torch": torch.__version__}, binding)


def _read(path: Path) -> torch.export.ExportedProgram:
    if comes_quantized(str(path)):
        _register_quantized_operators()
    try:
        with _told_by_torch() as told:
            return torch.export.load(str(path))
    except (RuntimeError, ValueError, KeyError, AssertionError, OSError, EOFError, TypeError) as exc:
        if unknown := _UNKNOWN.search("\n".join([*told, str(exc)])):
            raise SourceError(
                f"{path.name} calls {unknown[1]}, which nothing has registered in this process.",
                where=str(path),
                fix="name a file that imports what registers it: --ops FILE.py (ops: in bundle.yaml)",
            ) from exc
        first = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        raise SourceError(
            f"{path.name} is damaged or of another version of torch: {first}.",
            where=str(path),
            fix=f"export and save it again with torch {torch.__version__.partition('+')[0]}",
        ) from exc


def _register_quantized_operators() -> None:
    """torch.ops.quantized_decomposed: what PyTorch's export quantization (PT2E, now torchao's) writes, and not part of
    `import torch`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.ao, which torchao imports it from
        importlib.import_module("torch.ao.quantization.fx._decomposed")


@contextmanager
def _told_by_torch() -> Iterator[list[str]]:
    """What torch.export logs meanwhile, in place of the terminal: tracebacks of what its error then leaves out."""
    told: list[str] = []
    logger, handler = logging.getLogger("torch.export"), logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield told
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def _signature(program: torch.export.ExportedProgram) -> tuple[Binding, list[torch.Tensor]]:
    """How the program is called, and a (fake) tensor for each of its inputs."""
    placeholders = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    leaves: list[Any] = []
    names: list[str] = []
    for spec in program.graph_signature.input_specs:
        if spec.kind is not InputKind.USER_INPUT:
            continue
        if isinstance(spec.arg, ConstantArgument):
            leaves.append(spec.arg.value)
        else:
            leaves.append(Slot(len(names)))
            names.append(spec.arg.name)
    in_spec = program.call_spec.in_spec
    assert in_spec is not None
    args, kwargs = pytree.tree_unflatten(leaves, in_spec)
    return Binding(tuple(names), args, kwargs), [placeholders[name] for name in names]


def _name_dims(
    names: Sequence[str], shapes: Sequence[torch.Tensor], given: Sequence[TensorSpec]
) -> tuple[TensorSpec, ...]:
    known = _symbol_names(shapes)
    own = tuple(
        TensorSpec(
            name,
            dtype_name(shape),
            tuple(int(size) if isinstance(size, int) else known[str(size)] for size in shape.shape),
        )
        for name, shape in zip(names, shapes, strict=True)
    )
    by_name = {spec.name: spec for spec in given}
    for name in by_name:
        if name not in names:
            raise UsageError(f"The program has no input {name!r}.", fix=f"its inputs: {', '.join(names)}")
    return tuple(_merge(spec, by_name.get(spec.name)) for spec in own)


def _merge(own: TensorSpec, given: TensorSpec | None) -> TensorSpec:
    if given is None:
        return own
    fits = given.dtype == own.dtype and len(given.dims) == len(own.dims)
    if not fits or any(isinstance(a, int) and a != b for a, b in zip(own.dims, given.dims, strict=True)):
        raise UsageError(
            f"The input {given} contradicts the program, which was exported with {own}.",
            fix="correct --input, or export again with dynamic_shapes for the dims that are to be dynamic",
        )
    return given


def _symbol_names(shapes: Sequence[torch.Tensor]) -> dict[str, Dim]:
    symbols: dict[str, Dim] = {}
    first = [str(shape.shape[0]) for shape in shapes if shape.dim() and not isinstance(shape.shape[0], int)]
    for symbol in [*first[:1], *(str(size) for s in shapes for size in s.shape if not isinstance(size, int))]:
        if symbol not in symbols:
            symbols[symbol] = "batch" if symbol in first[:1] else f"dim_{len(symbols) if first else len(symbols) + 1}"
    return symbols


def _examples(
    program: torch.export.ExportedProgram, binding: Binding, specs: Sequence[TensorSpec]
) -> dict[str, Array]:
    """The inputs that the program was exported with, if they were saved; else random ones."""
    if program.example_inputs is None:
        return random_inputs(specs, {})
    leaves = pytree.tree_leaves(program.example_inputs)
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    return {name: to_numpy(tensor) for name, tensor in zip(binding.names, tensors, strict=True)}

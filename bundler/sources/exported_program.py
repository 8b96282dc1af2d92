"""`.pt2`: a program of torch.export, written by torch.export.save."""

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
from bundler.process.causes import cause_of
from bundler.sources import LoadedModel
from bundler.sources.binding import Binding, Slot
from bundler.sources.example_inputs import random_inputs
from bundler.sources.files import file_provenance, find_file
from bundler.sources.fixed_dims import of_file
from bundler.sources.pickles import check_exported_program
from bundler.sources.tensors import dtype_name, to_numpy
from bundler.spec.bundle_spec import ModelSpec
from bundler.values.arrays import Array
from bundler.values.signature import Dim, TensorSpec

_UNREGISTERED = re.compile(r"resolve (torch\.ops\.\w+\.\w+)[.\w]* to an operator")


def load(model: ModelSpec, *, base: Path) -> LoadedModel:
    """Load the program, with the dynamic dims that it was exported with.

    The file does not contain the names of dims. The first dynamic dim of a first axis is named `batch`, and all others `dim_1`,
    `dim_2` …, unless --input names them.

    Args:
        model: the source and the user's settings.
        base: the folder that relative paths start from.

    Raises:
        SourceError: the file is damaged, or contains pickles that are not trusted.
        UsageError: --input contradicts the program.
    """
    path = find_file(model.source, base, what="The exported program")
    check_exported_program(path, trust=model.trust_pickle)
    program = _read(path)
    binding, fakes = _signature(program)
    specs = _name_dims(binding.names, fakes, [TensorSpec.parse(text) for text in model.inputs])
    fixed = of_file(specs, _name_dims(binding.names, fakes, []), why="as the program was exported", dim="Dim.DYNAMIC")
    examples = _examples(program, binding, specs)
    count = sum(tensor.numel() for tensor in program.parameters())
    facts = {"source": model.source, **file_provenance(path), "class": path.stem, "parameters": count}
    return LoadedModel(program, None, examples, specs, {**facts, "torch": torch.__version__}, binding, fixed)


def _read(path: Path) -> torch.export.ExportedProgram:
    if comes_quantized(str(path)):
        _register_quantized_operators()
    try:
        with _captured_logs() as messages:
            return torch.export.load(str(path))
    except (RuntimeError, ValueError, KeyError, AssertionError, OSError, EOFError, TypeError) as exc:
        if unregistered := _UNREGISTERED.search("\n".join([*messages, str(exc)])):
            raise SourceError(
                f"{path.name} calls {unregistered[1]}, which is not registered in this process.",
                where=str(path),
                fix="import the package that registers it in a file given with --ops FILE.py (ops: in bundle.yaml)",
                code="TFB2107",
            ) from exc
        raise SourceError(
            f"{path.name} is damaged, or was written by another version of torch: {cause_of(exc)}.",
            where=str(path),
            fix=f"export and save it again with torch {torch.__version__.partition('+')[0]}",
            code="TFB2104",
        ) from exc


def _register_quantized_operators() -> None:
    """Register torch.ops.quantized_decomposed, which PyTorch's export quantization writes and `import torch` leaves out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.ao, from which torchao imports it
        importlib.import_module("torch.ao.quantization.fx._decomposed")


@contextmanager
def _captured_logs() -> Iterator[list[str]]:
    """Collect what torch.export logs instead of printing it: the log has tracebacks that its exceptions omit."""
    messages: list[str] = []
    logger, handler = logging.getLogger("torch.export"), logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def _signature(program: torch.export.ExportedProgram) -> tuple[Binding, list[torch.Tensor]]:
    """Return how the program is called, and a (fake) tensor for each of its inputs."""
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
    names: Sequence[str], fakes: Sequence[torch.Tensor], user_specs: Sequence[TensorSpec]
) -> tuple[TensorSpec, ...]:
    """Return the program's specs, with the dims that the user names."""
    dim_names = _symbol_names(fakes)
    program_specs = tuple(
        TensorSpec(
            name,
            dtype_name(fake),
            tuple(int(size) if isinstance(size, int) else dim_names[str(size)] for size in fake.shape),
        )
        for name, fake in zip(names, fakes, strict=True)
    )
    by_name = {spec.name: spec for spec in user_specs}
    for name in by_name:
        if name not in names:
            raise UsageError(
                f"The program has no input {name!r}.",
                fix=f"choose one of its inputs: {', '.join(names)}",
                code="TFB1203",
            )
    return tuple(_merge(spec, by_name.get(spec.name)) for spec in program_specs)


def _merge(spec: TensorSpec, user_spec: TensorSpec | None) -> TensorSpec:
    if user_spec is None:
        return spec
    fits = user_spec.dtype == spec.dtype and len(user_spec.dims) == len(spec.dims)
    if not fits or any(isinstance(a, int) and a != b for a, b in zip(spec.dims, user_spec.dims, strict=True)):
        raise UsageError(
            f"The input {user_spec} contradicts the program, which was exported with {spec}.",
            fix="correct --input, or export again with dynamic_shapes for the dims that should be dynamic",
            code="TFB1203",
        )
    return user_spec


def _symbol_names(fakes: Sequence[torch.Tensor]) -> dict[str, Dim]:
    names: dict[str, Dim] = {}
    first = [str(fake.shape[0]) for fake in fakes if fake.dim() and not isinstance(fake.shape[0], int)]
    for symbol in [*first[:1], *(str(size) for fake in fakes for size in fake.shape if not isinstance(size, int))]:
        if symbol not in names:
            names[symbol] = "batch" if symbol in first[:1] else f"dim_{len(names) if first else len(names) + 1}"
    return names


def _examples(
    program: torch.export.ExportedProgram, binding: Binding, specs: Sequence[TensorSpec]
) -> dict[str, Array]:
    """Return the inputs that the program was exported with if they were saved, else random ones."""
    if program.example_inputs is None:
        return random_inputs(specs, {})
    leaves = pytree.tree_leaves(program.example_inputs)
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    return {name: to_numpy(tensor) for name, tensor in zip(binding.names, tensors, strict=True)}

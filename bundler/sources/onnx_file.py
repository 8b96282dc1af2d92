"""`.onnx`: a graph of any exporter. ONNX Runtime computes the reference answers, or what stands in for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import onnx

from bundler.errors import ConversionError, ParityError, SourceError, UsageError
from bundler.graph.onnx_runtime import CannotLoadError
from bundler.graph.onnx_signature import load_graph, opset_of, signature_of
from bundler.graph.tensors import check_tensors
from bundler.graph.witness import find_witness
from bundler.sources import LoadedModel
from bundler.sources.example_inputs import Range, random_inputs
from bundler.sources.files import file_provenance, find_file
from bundler.sources.fixed_dims import of_file
from bundler.spec.bundle_spec import ModelSpec
from bundler.values.signature import TensorSpec, check_names
from serving.texts import shell_command

LARGEST_EXAMPLE = 1 << 28
"""The most numbers that the fixed dims of an example input may have."""


def load(model: ModelSpec, *, base: Path) -> LoadedModel:
    """Read the signature of the graph, and run it once (`bundler.graph.witness`).

    Args:
        model: the source and the user's settings.
        base: the folder that relative paths start from.

    Raises:
        SourceError: the file is damaged, external data is missing, or nothing can run the model.
        UsageError: --input contradicts the graph.
    """
    path = find_file(model.source, base, what="The ONNX file")
    try:
        graph = load_graph(path)
        check_tensors(graph, path)
        signature = signature_of(graph)
        check_names(signature)
    except (ConversionError, UsageError) as exc:
        raise SourceError(exc.what, where=str(path), fix=exc.fix, code=exc.code) from exc
    specs = _specs(graph, signature.inputs, [TensorSpec.parse(text) for text in model.inputs])
    _check_sizes(specs)
    examples = random_inputs(specs, _ranges(graph))
    try:
        find_witness(path, examples)
    except ParityError as exc:
        raise _cannot_run(path, specs, exc) from exc
    producer = f"{graph.producer_name} {graph.producer_version}".strip()
    facts = {"source": model.source, **file_provenance(path), "opset": opset_of(graph), "producer": producer}
    fixed = of_file(specs, signature.inputs, why="as the file states")
    return LoadedModel(None, path, examples, specs, {**facts, "class": path.stem}, fixed_dims=fixed)


def _cannot_run(path: Path, specs: Sequence[TensorSpec], exc: ParityError) -> SourceError:
    if isinstance(exc, CannotLoadError):
        what = (
            f"{path.name} cannot be verified: {exc.what} {exc.fix} The answers of an .onnx file are compared with those of ONNX "
            "Runtime or onnx.reference."
        )
        fix = "build from PyTorch (file.py:callable), or convert without verification: bundler.convert(path, ops=…).save(folder)"
    else:
        what = f"{path.name} fails on the inputs {', '.join(map(str, specs))}. {exc.what} {exc.fix}"
        fix = "export it again if the file is damaged; otherwise give --input with dims that the model accepts"
    return SourceError(what, where=str(path), fix=fix, code="TFB3402")


def _specs(
    graph: onnx.ModelProto, graph_specs: Sequence[TensorSpec], user_specs: Sequence[TensorSpec]
) -> tuple[TensorSpec, ...]:
    """Return the graph's inputs, with the dims that the user gives."""
    shaped = {value.name for value in graph.graph.input if value.type.tensor_type.HasField("shape")}
    by_name = {spec.name: spec for spec in user_specs}
    unknown = [name for name in by_name if name not in {spec.name for spec in graph_specs}]
    if unknown:
        names = ", ".join(spec.name for spec in graph_specs)
        raise UsageError(
            f"The graph has no input {unknown[0]!r}.", fix=f"choose one of its inputs: {names}", code="TFB1203"
        )
    for spec in graph_specs:
        if spec.name not in shaped and spec.name not in by_name:
            raise SourceError(
                f"The graph does not state the number of axes of its input {spec.name!r}.",
                fix=f"give its dims, e.g. --input {shell_command(f'{spec.name}={spec.dtype}[batch,3]')}",
                code="TFB2005",
            )
        merged = by_name.get(spec.name, spec)
        if merged.dtype != spec.dtype or (spec.name in shaped and not _fits(merged, spec)):
            raise UsageError(
                f"The input {merged} contradicts the graph, which has {spec}.", fix="correct --input", code="TFB1203"
            )
    return tuple(by_name.get(spec.name, spec) for spec in graph_specs)


def _check_sizes(specs: Sequence[TensorSpec]) -> None:
    """Raise if an input is too large: a graph can state dims beyond the memory of any machine."""
    for spec in specs:
        if math.prod(dim for dim in spec.dims if isinstance(dim, int)) > LARGEST_EXAMPLE:
            raise SourceError(
                f"The graph's input {spec} is too large to run: it has over {LARGEST_EXAMPLE:,} numbers.",
                fix="check the dims of the graph's inputs, and export it again with the intended ones",
                code="TFB2006",
            )


def _fits(user_spec: TensorSpec, graph_spec: TensorSpec) -> bool:
    """Return True if all dims that are fixed in the graph keep their size; a dynamic one may be named or fixed."""
    return len(user_spec.dims) == len(graph_spec.dims) and all(
        not isinstance(fixed, int) or dim == fixed for dim, fixed in zip(user_spec.dims, graph_spec.dims, strict=True)
    )


def _ranges(graph: onnx.ModelProto) -> dict[str, Range]:
    """Return the range of inputs that a Gather looks up in the rows of a weight."""
    rows = {init.name: init.dims[0] for init in graph.graph.initializer if init.dims}
    ranges: dict[str, Range] = {}
    for node in graph.graph.node:
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        if node.op_type == "Gather" and axis == 0 and node.input[0] in rows:
            name, size = node.input[1], int(rows[node.input[0]])
            ranges[name] = (0, min(size - 1, ranges.get(name, (0, size))[1]))
    return ranges

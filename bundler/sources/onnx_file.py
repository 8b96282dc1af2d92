"""`.onnx`: a graph that some exporter made. Its reference is ONNX Runtime."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import onnx

from bundler.errors import ConversionError, ParityError, SourceError, UsageError
from bundler.graph.onnx_runtime import CannotLoadError, OnnxModel
from bundler.graph.onnx_signature import load_graph, opset_of, signature_of
from bundler.graph.tensors import check_tensors
from bundler.sources import LoadedModel
from bundler.sources.example_inputs import Range, random_inputs
from bundler.sources.files import file_provenance, find_file
from bundler.spec.bundle_spec import ModelSpec
from bundler.values.signature import TensorSpec

LARGEST_EXAMPLE = 1 << 28
"""Numbers that an example input may have at its fixed dims."""


def load(model: ModelSpec, *, base: Path) -> LoadedModel:
    """Read the graph's signature and run it once in ONNX Runtime.

    Raises:
        SourceError: the file is damaged, its external data are not there, or ONNX Runtime cannot run it.
        UsageError: --input contradicts the graph.
    """
    path = find_file(model.source, base, what="The ONNX file")
    try:
        graph = load_graph(path)
        check_tensors(graph, path)
        own = signature_of(graph).inputs
    except ConversionError as exc:
        raise SourceError(exc.what, where=str(path), fix=exc.fix) from exc
    specs = _specs(graph, own, [TensorSpec.parse(text) for text in model.inputs])
    _check_sizes(specs)
    examples = random_inputs(specs, _ranges(graph))
    try:
        OnnxModel(path)(examples)
    except CannotLoadError as exc:
        raise SourceError(
            f"{path.name} cannot be proven: {exc.what} It gives the answers that an .onnx file is compared with.",
            where=str(path),
            fix="build from PyTorch (file.py:callable); or bundler.convert(path, ops=…), without a proof",
        ) from exc
    except ParityError as exc:
        raise SourceError(
            f"{path.name} does not run on {', '.join(map(str, specs))}. {exc.what}",
            where=str(path),
            fix="export it again if the file is damaged; give --input with dims that it takes if not",
        ) from exc
    producer = f"{graph.producer_name} {graph.producer_version}".strip()
    facts = {"source": model.source, **file_provenance(path), "opset": opset_of(graph), "producer": producer}
    return LoadedModel(None, path, examples, specs, {**facts, "class": path.stem})


def _specs(
    graph: onnx.ModelProto, own: Sequence[TensorSpec], given: Sequence[TensorSpec]
) -> tuple[TensorSpec, ...]:
    """The graph's inputs with the dims that the user gives."""
    shaped = {value.name for value in graph.graph.input if value.type.tensor_type.HasField("shape")}
    by_name = {spec.name: spec for spec in given}
    unknown = [name for name in by_name if name not in {spec.name for spec in own}]
    if unknown:
        names = ", ".join(spec.name for spec in own)
        raise UsageError(f"The graph has no input {unknown[0]!r}.", fix=f"its inputs: {names}")
    for spec in own:
        if spec.name not in shaped and spec.name not in by_name:
            raise SourceError(
                f"The graph does not say how many axes its input {spec.name!r} has.",
                fix=f"add --input '{spec.name}={spec.dtype}[batch,…]'",
            )
        wanted = by_name.get(spec.name, spec)
        if wanted.dtype != spec.dtype or (spec.name in shaped and not _fits(wanted, spec)):
            raise UsageError(f"The input {wanted} contradicts the graph, which has {spec}.", fix="correct --input")
    return tuple(by_name.get(spec.name, spec) for spec in own)


def _check_sizes(specs: Sequence[TensorSpec]) -> None:
    """A graph can state dims that no machine holds."""
    for spec in specs:
        if math.prod(dim for dim in spec.dims if isinstance(dim, int)) > LARGEST_EXAMPLE:
            raise SourceError(
                f"The graph's input {spec} is too large to be tried: over {LARGEST_EXAMPLE:,} numbers.",
                fix="check the dims of the graph's inputs; export it again with dims that are meant",
            )


def _fits(wanted: TensorSpec, own: TensorSpec) -> bool:
    """A dim that is fixed in the graph keeps its size; a dynamic one may be named or fixed."""
    return len(wanted.dims) == len(own.dims) and all(
        not isinstance(there, int) or dim == there for dim, there in zip(wanted.dims, own.dims, strict=True)
    )


def _ranges(graph: onnx.ModelProto) -> dict[str, Range]:
    """The range of inputs that a Gather looks up in the rows of a weight."""
    rows = {init.name: init.dims[0] for init in graph.graph.initializer if init.dims}
    found: dict[str, Range] = {}
    for node in graph.graph.node:
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        if node.op_type == "Gather" and axis == 0 and node.input[0] in rows:
            name, size = node.input[1], int(rows[node.input[0]])
            found[name] = (0, min(size - 1, found.get(name, (0, size))[1]))
    return found

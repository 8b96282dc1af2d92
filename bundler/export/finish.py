"""Finishing an exported graph: names of weights, dims of inputs and outputs, and the user's source lines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from bundler.graph.infer import infer_shapes
from bundler.graph.load import conversion_errors, load_external
from bundler.graph.operand_dtypes import UniteOperandDtypes
from bundler.graph.provenance import STACK_TRACE
from bundler.graph.wider_dtypes import WidenOperands
from bundler.process.logs import silence
from bundler.values.signature import Dim, Signature, TensorSpec

_PREFIX = "module."
"""The prefix that `FlatModule` gives the names of all weights, as its member `module`."""

_FRAME = re.compile(r'\s*File "(?P<file>[^"]+)", line \d+, in [^\n]*(?:\n(?!\s*File ")[^\n]*)*')
_OURS = str(Path(__file__).parent)
_RECURRENT = ("LSTM", "GRU", "RNN")
_HALVES = {"float16": ir.DataType.FLOAT16, "bfloat16": ir.DataType.BFLOAT16}
EXTERNAL_DATA = 3 * 2**29
"""The size of weights, in bytes, from which they get a file of their own: 1.5 GB, as a protobuf cannot exceed 2 GB."""


def annotated_outputs(model: ir.Model) -> dict[str, list[Dim] | None]:
    """Return the dims that the graph declares for its outputs, by name; None if it declares none."""
    return {str(value.name): _dims(value.shape) for value in model.graph.outputs}


def finish(model: ir.Model, signature: Signature) -> None:
    """Remove the traces of the export from a graph, in place.

    1. The names of weights lose the wrapper's prefix, so that signatures share weights by name. No other value has the name
       of an output.
    2. Inputs and outputs get the signature's dims. If torch has fixed a dynamic dim, or may have (recurrent nodes), the
       shapes of all values in between are dropped and inferred again.
    3. Frames of tfbundle are removed from the stack traces, so that the first frame is the user's.
    4. Nodes that ONNX does not define for the dtype of their operands compute in a wider one.
    5. The operands of each node get one float type where torch's optimizer left several.
    6. An output that is float32 in the graph and half precision in the model is cast.
    """
    _cast_halves(model, signature)
    WidenOperands()(model)
    make_way(model, signature.output_names)
    for name in [n for n in model.graph.initializers if n.startswith(_PREFIX)]:
        short = name.removeprefix(_PREFIX)
        if short not in model.graph.initializers:
            value = model.graph.initializers.pop(name)
            value.name = short
            model.graph.initializers[short] = value
    for node in model.graph.all_nodes():
        if STACK_TRACE in node.metadata_props:
            node.metadata_props[STACK_TRACE] = _without_ours(node.metadata_props[STACK_TRACE])
    changed = _annotate(model.graph.inputs, signature.inputs)
    changed = _annotate(model.graph.outputs, signature.outputs) or changed
    if changed or any(node.op_type in _RECURRENT for node in model.graph.all_nodes()):
        _infer_again(model)
    UniteOperandDtypes()(model)


def _cast_halves(model: ir.Model, signature: Signature) -> None:
    """Cast outputs to the half precision that the model returns, in place.

    torch (2.13) writes operators such as abs, sum and mse_loss in float32 between two casts, and omits the second one if its
    result is an output of the graph.
    """
    dtypes = {spec.name: spec.dtype for spec in signature.outputs}
    for index, value in enumerate(model.graph.outputs):
        half = _HALVES.get(dtypes[str(value.name)])
        if half is None or value.dtype is not ir.DataType.FLOAT or value.producer() is None:
            continue
        node = ir.Node("", "Cast", [value], [ir.AttrInt64("to", half)], name=f"{value.name}_to_half")
        cast = node.outputs[0]
        cast.name, cast.shape, cast.type = value.name, value.shape, ir.TensorType(half)
        value.name = f"{value.name}_in_float32"
        model.graph.append(node)
        model.graph.outputs[index] = cast


def keep_outputs(model: ir.Model, names: Iterable[str]) -> None:
    """Remove all outputs but these, which get this order, and the nodes that only the others need."""
    by_name = {value.name: value for value in model.graph.outputs}
    outputs = [by_name[name] for name in names]
    if outputs != list(model.graph.outputs):
        model.graph.outputs.clear()
        model.graph.outputs.extend(outputs)
        RemoveUnusedNodesPass()(model)


def rename_outputs(model: ir.Model, names: Iterable[str]) -> None:
    """Give the outputs these names; other values that have one of them are renamed."""
    new_names = list(names)
    _copy_shared_outputs(model)
    make_way(model, new_names)
    for value, name in zip(model.graph.outputs, new_names, strict=True):
        value.name = f"{name}__new"
    for value, name in zip(model.graph.outputs, new_names, strict=True):
        value.name = name


def _copy_shared_outputs(model: ir.Model) -> None:
    """Replace an output that is also an input, a constant or another output by a copy with a name of its own."""
    seen: set[int] = set()
    for index, value in enumerate(model.graph.outputs):
        if value.producer() is None or id(value) in seen:
            node = ir.Node("", "Identity", [value], name=f"{value.name}_passed_on_{index}")
            copy = node.outputs[0]
            copy.name, copy.shape, copy.type = node.name, value.shape, value.type
            model.graph.append(node)
            model.graph.outputs[index] = copy
        seen.add(id(value))


def make_way(model: ir.Model, names: Iterable[str]) -> None:
    """Rename values within the graph that have the name of an output; torch does not ensure that names are unique."""
    taken = set(names)
    outputs = {id(value) for value in model.graph.outputs}
    for node in model.graph:
        for value in node.outputs:
            if value.name in taken and id(value) not in outputs:
                value.name = f"{value.name}_inner"


def save(model: ir.Model, path: Path) -> None:
    """Write the model. Weights of 1.5 GB and more go to `<path>.data` beside it, whatever file they come from."""
    size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    is_large = size >= EXTERNAL_DATA
    load_external(model, initializers=not is_large)
    with conversion_errors("The ONNX graph cannot be written"):
        ir.save(model, path, external_data=f"{path.name}.data" if is_large else None)


def _annotate(values: Iterable[ir.Value], specs: Iterable[TensorSpec]) -> bool:
    """Set the dims; return whether the graph lacked dims or had a fixed size where the spec has a dynamic dim."""
    changed = False
    by_name = {spec.name: spec for spec in specs}
    for value in values:
        spec = by_name[str(value.name)]
        before = _dims(value.shape)
        if before is None or len(before) != len(spec.dims):
            changed = True
        else:
            changed |= any(isinstance(a, int) and not isinstance(b, int) for a, b in zip(before, spec.dims, strict=True))
        value.shape = ir.Shape(spec.dims)
    return changed


def _dims(shape: ir.Shape | None) -> list[Dim] | None:
    if shape is None:
        return None
    return [dim if isinstance(dim, int) else dim.value for dim in shape]


def _infer_again(model: ir.Model) -> None:
    ends = {id(value) for value in (*model.graph.inputs, *model.graph.outputs)}
    for node in model.graph.all_nodes():
        for value in node.outputs:
            if id(value) not in ends:
                value.shape = None
    with silence(), conversion_errors("The shapes of the ONNX graph cannot be inferred"):
        infer_shapes(model)


def _without_ours(trace: str) -> str:
    frames = [match for match in _FRAME.finditer(trace) if not match["file"].startswith(_OURS)]
    return "\n".join(match[0].strip("\n") for match in frames).strip() or trace

"""Attributes that became inputs, so that they can be computed, and attributes that were dropped or renamed."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bundler.graph.opsets.rules import NodeEditor, rule

_CONSUMERS = (
    "Abs", "Add", "BatchNormalization", "Ceil", "Clip", "Div", "Dropout", "Elu", "Exp", "Floor", "HardSigmoid",
    "InstanceNormalization", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mul", "Neg", "PRelu", "Reciprocal", "Relu", "Reshape",
    "Selu", "Sigmoid", "Sqrt", "Sub", "Sum", "Tanh",
)  # fmt: skip
"""Operators whose first version has `consumed_inputs`, a hint on memory without a meaning."""

_REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSumSquare",
)  # fmt: skip

_SELU_1 = {"alpha": 1.6732, "gamma": 1.0507}


@rule(*_CONSUMERS, before=6)
def drop_consumed_inputs(edit: NodeEditor) -> None:
    """Drop the hint."""
    edit.take("consumed_inputs")


@rule("Selu", before=6)
def keep_short_constants(edit: NodeEditor) -> None:
    """Write down the defaults, which had four decimals."""
    edit.set(**{name: edit.take(name, default) for name, default in _SELU_1.items()})


@rule("Concat", before=4)
def keep_default_axis(edit: NodeEditor) -> None:
    """Write down the axis, whose default was 1."""
    edit.set(axis=edit.take("axis", 1))


@rule("Cast", before=6)
def number_data_type(edit: NodeEditor) -> None:
    """Replace the name of a data type by its number."""
    name = edit.take("to")
    if isinstance(name, str):
        if name.upper() not in ir.DataType.__members__:
            raise edit.error(f"{name!r} is not a data type")
        name = int(ir.DataType[name.upper()])
    edit.set(to=name)


@rule("GlobalLpPool", "LpPool", before=2)
def integer_power(edit: NodeEditor) -> None:
    """Make p an integer."""
    power = edit.take("p", 2.0)
    if power != int(power):
        raise edit.error(f"p must be an integer, not {power}")
    edit.set(p=int(power))


@rule("GRU", "LSTM", "RNN", before=7)
def drop_output_sequence(edit: NodeEditor) -> None:
    """Drop `output_sequence`: an output that nobody reads is left out."""
    edit.take("output_sequence")


@rule("Scatter", before=21)
def rename_scatter(edit: NodeEditor) -> None:
    """Use the operator's present name."""
    edit.node.op_type = "ScatterElements"


@rule("Reshape", before=5)
def shape_as_input(edit: NodeEditor) -> None:
    """Pass the shape as an input."""
    edit.set_inputs(edit.operand(), edit.constant(edit.take("shape", [])))


@rule("Tile", before=6)
def repeats_as_vector(edit: NodeEditor) -> None:
    """Pass one repeat per axis in place of a number of tiles and their axis."""
    data, tiles, axis = edit.operand(0), edit.operand(1), edit.operand(2)
    minus_one = edit.constant([-1])
    rank = edit.add("Shape", [edit.add("Shape", [data])])
    ones = edit.add("ConstantOfShape", [rank], value=ir.tensor(np.array([1], np.int64)))
    position = edit.add("Reshape", [edit.add("Cast", [axis], to=int(ir.DataType.INT64)), minus_one])
    count = edit.add("Reshape", [edit.add("Cast", [tiles], to=int(ir.DataType.INT64)), minus_one])
    edit.set_inputs(data, edit.add("ScatterElements", [ones, position, count]))


@rule("Pad", before=2)
def rename_paddings(edit: NodeEditor) -> None:
    """Use the attribute's later name."""
    edit.set(pads=edit.take("paddings", []))


@rule("Pad", before=11)
def pads_as_input(edit: NodeEditor) -> None:
    """Pass pads and value as inputs."""
    data, value = edit.operand(), edit.take("value", 0.0)
    edit.set_inputs(data, edit.constant(edit.take("pads", [])), edit.scalar_like(value, data) if value else None)


@rule("Clip", before=11)
def bounds_as_inputs(edit: NodeEditor) -> None:
    """Pass the bounds as inputs. Their defaults, the largest finite floats, count as none."""
    data = edit.operand()
    bounds = [edit.take(name) for name in ("min", "max")]
    edit.set_inputs(data, *(None if bound is None else edit.scalar_like(bound, data) for bound in bounds))


@rule("TopK", before=10)
def count_as_input(edit: NodeEditor) -> None:
    """Pass k as an input."""
    edit.set_inputs(edit.operand(), edit.constant([edit.take("k", 1)]))


@rule("Slice", before=10)
def range_as_inputs(edit: NodeEditor) -> None:
    """Pass starts, ends and axes as inputs."""
    starts, ends = edit.take("starts", []), edit.take("ends", [])
    axes = edit.take("axes") or list(range(len(starts)))
    edit.set_inputs(edit.operand(), *(edit.constant(numbers) for numbers in (starts, ends, axes)))


@rule("Split", before=13)
def sizes_as_input(edit: NodeEditor) -> None:
    """Pass the sizes of the parts as an input."""
    sizes = edit.take("split")
    if sizes is not None:
        edit.set_inputs(edit.operand(), edit.constant(sizes))


@rule("Split", before=18)
def number_of_parts(edit: NodeEditor) -> None:
    """State the number of equal parts."""
    if edit.input(1) is None:
        edit.set(num_outputs=len(edit.node.outputs))


@rule("ReduceSum", "Squeeze", "Unsqueeze", before=13)
@rule(*_REDUCTIONS, before=18)
def axes_as_input(edit: NodeEditor) -> None:
    """Pass the axes as an input."""
    axes = edit.take("axes")
    if axes:
        edit.set_inputs(edit.operand(), edit.constant(axes))


@rule("DFT", before=20)
def axis_as_input(edit: NodeEditor) -> None:
    """Pass the axis as an input; its default was 1."""
    edit.set_inputs(edit.operand(), edit.input(1), edit.constant(edit.take("axis", 1)))

"""Softmax and its kin, BatchNormalization, GroupNormalization and Dropout of older opsets."""

from __future__ import annotations

import onnx_ir as ir

from bundler.graph.opsets.rules import NodeEditor, rule


@rule("Softmax", "LogSoftmax", "Hardmax", before=13)
def normalize_matrix_rows(edit: NodeEditor) -> None:
    """Normalize the rows of the input seen as a matrix, [product of the dims before the axis, product of the others].

    The default axis was 1. https://onnx.ai/onnx/operators/onnx__Softmax.html
    """
    x, axis = edit.operand(), edit.take("axis", 1)
    if x.shape is not None:
        dims = list(x.shape)
        axis = axis % len(dims) if axis < 0 else axis
        if axis < len(dims) and all(dim == 1 for dim in dims[axis + 1 :]):
            edit.set(axis=axis)
            return
    matrix = edit.add("Flatten", [x], axis=axis)
    rows = edit.add(edit.node.op_type, [matrix], axis=-1)
    edit.replace(edit.add("Reshape", [rows, edit.add("Shape", [x])], allowzero=1))
    edit.remove()


@rule("BatchNormalization", before=9)
def normalize_each_feature(edit: NodeEditor) -> None:
    """With `spatial=0`, mean, variance, scale and bias have the shape of a row of the input."""
    edit.take("is_test")
    if edit.take("spatial", 1):
        return
    epsilon = edit.take("epsilon", 1e-5)
    x, scale, bias, mean, variance = (edit.operand(index) for index in range(5))
    _refuse_statistics(edit)
    deviation = edit.add("Sqrt", [edit.add("Add", [variance, edit.scalar_like(epsilon, variance)])])
    normal = edit.add("Div", [edit.add("Sub", [x, mean]), deviation])
    edit.replace(edit.add("Add", [edit.add("Mul", [normal, scale]), bias]))
    edit.remove()


@rule("BatchNormalization", before=14)
def answer_in_test_mode(edit: NodeEditor) -> None:
    """Keep the first output. The others are statistics of a training step."""
    if edit.node.op_type != "BatchNormalization" or len(edit.node.outputs) == 1:
        return
    _refuse_statistics(edit)
    attributes = {attribute.name: attribute.value for attribute in edit.node.attributes.values()}
    edit.replace(edit.add("BatchNormalization", list(edit.node.inputs), **attributes))
    edit.remove()


def _refuse_statistics(edit: NodeEditor) -> None:
    if any(value.uses() or value.is_graph_output() for value in edit.node.outputs[1:]):
        raise edit.error("the statistics of a training step are read; a served model has none")


@rule("Dropout", before=12)
def pass_through(edit: NodeEditor) -> None:
    """Drop nothing, as in test mode. The mask, which is not filled, had the dtype of the data before opset 10."""
    for name in ("is_test", "ratio"):
        edit.take(name)
    x = edit.operand()
    edit.replace(edit.add("Identity", [x]))
    masks = edit.node.outputs[1:]
    if masks and (masks[0].uses() or masks[0].is_graph_output()):
        false = ir.tensor([False], dtype=ir.DataType.BOOL)
        mask = edit.add("ConstantOfShape", [edit.add("Shape", [x])], value=false)
        edit.replace(mask if edit.opset >= 10 else edit.add("CastLike", [mask, x]), 1)
    edit.remove()


@rule("GroupNormalization", before=21)
def scale_per_channel(edit: NodeEditor) -> None:
    """Repeat scale and bias, which were per group, for every channel of the group.

    https://onnx.ai/onnx/operators/onnx__GroupNormalization.html
    """
    groups = edit.node.attributes["num_groups"].as_int() if "num_groups" in edit.node.attributes else 1
    x, scale, bias = (edit.operand(index) for index in range(3))
    if scale.shape is not None and scale.shape.is_static() and scale.shape.numpy() != (groups,):
        return  # an exporter's node that has had one per channel all along
    channels = edit.add("Shape", [x], start=1, end=2)
    sizes = edit.add("Concat", [edit.constant([groups]), edit.add("Div", [channels, edit.constant([groups])])], axis=0)
    edit.set_inputs(x, *(_repeat(edit, value, sizes) for value in (scale, bias)))


def _repeat(edit: NodeEditor, value: ir.Value, sizes: ir.Value) -> ir.Value:
    column = edit.add("Unsqueeze", [value, edit.constant([1])])
    return edit.add("Reshape", [edit.add("Expand", [column, sizes]), edit.constant([-1])])

"""Casts around a node, for passes that change the dtype in which it computes."""

from __future__ import annotations

import onnx_ir as ir


def cast_operand(node: ir.Node, value: ir.Value, dtype: ir.DataType, name: str) -> ir.Value:
    """Return an operand of a node in another dtype, by a Cast before the node; `name` is the result's."""
    cast = _cast(node, value, dtype, f"{node.name}_cast_{name}")
    result = cast.outputs[0]
    result.name, result.shape, result.type = name, value.shape, ir.TensorType(dtype)
    assert node.graph is not None
    node.graph.insert_before(node, cast)
    return result


def cast_result(node: ir.Node, value: ir.Value, computed: ir.DataType, declared: ir.DataType) -> None:
    """Put a Cast behind an output of a node, which has the output's name for all that use it.

    Args:
        node: the node.
        value: the output.
        computed: the dtype that the node gives it.
        declared: the dtype that all other nodes, and the model's outputs, expect.
    """
    cast = _cast(node, value, declared, f"{node.name}_cast_{value.name}")
    result = cast.outputs[0]
    result.shape, result.type = value.shape, ir.TensorType(declared)
    value.replace_all_uses_with(result, replace_graph_outputs=True)
    cast.replace_input_with(0, value)
    result.name, value.name, value.type = value.name, f"{value.name}_uncast", ir.TensorType(computed)
    assert node.graph is not None
    node.graph.insert_after(node, cast)


def _cast(node: ir.Node, value: ir.Value, dtype: ir.DataType, name: str) -> ir.Node:
    """Return a Cast that counts as written by the line of the user's model that wrote the node."""
    cast = ir.node("Cast", [value], attributes={"to": int(dtype)}, name=name)
    cast.metadata_props.update(node.metadata_props)
    return cast

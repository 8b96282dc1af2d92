"""A node whose operands disagree in their float type is mended; all others are left as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from bundler.graph.operand_dtypes import UniteOperandDtypes

TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
ARRAYS = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}

Constants = Mapping[str, tuple[str, Sequence[int]]]


def model(operator: str, data: Constants, constants: Constants, result: str, **attributes: Any) -> ir.Model:
    """Return a model of one node whose inputs are `data` and `constants`, each (dtype, shape), in this order."""
    graph = helper.make_graph(
        [helper.make_node(operator, [*data, *constants], ["y"], "node", **attributes)],
        "g",
        [helper.make_tensor_value_info(name, TYPES[dtype], shape) for name, (dtype, shape) in data.items()],
        [helper.make_tensor_value_info("y", TYPES[result], None)],
        [numpy_helper.from_array(np.full(shape, 0.3, ARRAYS[dtype]), name) for name, (dtype, shape) in constants.items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)]))


def dtypes(built: ir.Model) -> tuple[list[str], list[str]]:
    """Return the operators, and the dtypes of the inputs of the one that is not a Cast."""
    node = next(node for node in built.graph if node.op_type != "Cast")
    return [n.op_type for n in built.graph], [str(value.dtype) for value in node.inputs if value is not None]


WEIGHTED: dict[str, tuple[Sequence[int], Constants, dict[str, Any]]] = {
    "Conv": ([1, 3, 5, 5], {"w": ("float32", [4, 3, 3, 3]), "b": ("float32", [4])}, {}),
    "ConvTranspose": ([1, 3, 5, 5], {"w": ("float32", [3, 4, 2, 2]), "b": ("bfloat16", [4])}, {}),
    "Gemm": ([2, 3], {"w": ("float32", [3, 4]), "b": ("float32", [4])}, {}),
    "MatMul": ([2, 3], {"w": ("float32", [3, 4])}, {}),
    "Add": ([2, 3], {"c": ("float32", [3])}, {}),
    "Concat": ([2, 3], {"c": ("float32", [2, 1])}, {"axis": 1}),
    "PRelu": ([1, 3, 5], {"slope": ("float32", [3, 1])}, {}),
    "LSTM": ([5, 1, 3], {"w": ("float32", [1, 16, 3]), "r": ("float32", [1, 16, 4])}, {"hidden_size": 4}),
    "GRU": ([5, 1, 3], {"w": ("float32", [1, 12, 3]), "r": ("bfloat16", [1, 12, 4])}, {"hidden_size": 4}),
}


@pytest.mark.parametrize("operator", WEIGHTED)
def test_constants_get_the_dtype_of_the_data(operator: str) -> None:
    shape, constants, attributes = WEIGHTED[operator]
    built = model(operator, {"x": ("bfloat16", shape)}, constants, "bfloat16", **attributes)
    assert UniteOperandDtypes()(built).modified
    operators, found = dtypes(built)
    assert operators == [operator]
    assert set(found) == {"BFLOAT16"}
    assert set(built.graph.initializers) == set(constants)
    for value in built.graph.initializers.values():
        assert value.const_value is not None
        np.testing.assert_array_equal(value.const_value.numpy().astype(np.float32), np.float32(ml_dtypes.bfloat16(0.3)))


@pytest.mark.parametrize("operator", ["LayerNormalization", "GroupNormalization", "InstanceNormalization"])
def test_a_normalization_computes_in_the_wider_dtype_and_returns_the_declared_one(operator: str) -> None:
    attributes = {"num_groups": 2} if operator == "GroupNormalization" else {}
    size = [8] if operator == "LayerNormalization" else [4]
    constants = {"scale": ("float32", size), "bias": ("float32", size)}
    built = model(operator, {"x": ("float16", [2, 4, 8])}, constants, "float16", **attributes)
    UniteOperandDtypes()(built)
    operators, found = dtypes(built)
    assert operators == ["Cast", operator, "Cast"]
    assert found == ["FLOAT"] * 3
    (output,) = built.graph.outputs
    assert (output.name, output.dtype) == ("y", ir.DataType.FLOAT16)


def test_data_of_two_dtypes_is_computed_in_the_wider_one() -> None:
    built = model("Mul", {"a": ("float16", [3]), "b": ("float32", [3])}, {}, "float32")
    UniteOperandDtypes()(built)
    assert dtypes(built) == (["Cast", "Mul"], ["FLOAT", "FLOAT"])


def test_a_constant_that_another_node_needs_as_it_is_stays() -> None:
    built = model("Add", {"x": ("float16", [3])}, {"c": ("float32", [3])}, "float16")
    other = ir.node("Neg", [built.graph.initializers["c"]])
    built.graph.append(other)
    other.outputs[0].name = "z"
    built.graph.outputs.append(other.outputs[0])
    UniteOperandDtypes()(built)
    found = {name: str(value.dtype) for name, value in built.graph.initializers.items()}
    assert found == {"c": "FLOAT", "c_as_float16": "FLOAT16"}


@pytest.mark.parametrize(
    ("operator", "data", "constants", "attributes"),
    [
        ("Add", {"x": ("float16", [3])}, {"c": ("float16", [3])}, {}),
        ("BatchNormalization", {"x": ("bfloat16", [2, 3])}, {n: ("float32", [3]) for n in ("s", "b", "m", "v")}, {}),
        ("RMSNormalization", {"x": ("bfloat16", [2, 3])}, {"s": ("float32", [3])}, {}),
        ("Pow", {"x": ("bfloat16", [3])}, {"p": ("float32", [])}, {}),
    ],
)
def test_operands_that_may_differ_are_left_alone(operator: str, data: Any, constants: Constants, attributes: Any) -> None:
    """The pages of these operators give the operands type variables of their own."""
    built = model(operator, data, constants, "bfloat16", **attributes)
    before = dtypes(built)
    assert not UniteOperandDtypes()(built).modified
    assert dtypes(built) == before

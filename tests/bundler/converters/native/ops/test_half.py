"""Half-precision sums, normalizations and activations are computed in float32 and rounded once."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper

from bundler.converters.native.ops.half import in_single
from tests.bundler.converters.native.oracle import Array, native

KINDS = {"float16": (TensorProto.FLOAT16, np.float16), "bfloat16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16)}
MANY = 6000

CASES: dict[str, tuple[tuple[int, ...], dict[str, Array], dict[str, Any]]] = {
    "ReduceMean": ((MANY, 3), {"axes": np.array([0])}, {}),
    "ReduceSum": ((MANY, 3), {"axes": np.array([0])}, {}),
    "ReduceL1": ((2, MANY, 3), {"axes": np.array([1])}, {}),
    "ReduceL2": ((MANY, 3), {"axes": np.array([0])}, {}),
    "ReduceLogSumExp": ((MANY, 3), {"axes": np.array([0])}, {}),
    "GlobalAveragePool": ((1, 2, 80, 80), {}, {}),
    "AveragePool": ((1, 2, 80, 80), {}, {"kernel_shape": [80, 80]}),
    "CumSum": ((MANY,), {"axis": np.array(0)}, {}),
    "LpNormalization": ((2, MANY), {}, {"axis": 1}),
    "MeanVarianceNormalization": ((2, 3, 50, 50), {}, {}),
    "InstanceNormalization": ((2, 3, 50, 50), {"s": np.ones(3), "b": np.zeros(3)}, {}),
    "GroupNormalization": ((2, 4, 50, 50), {"s": np.ones(4), "b": np.zeros(4)}, {"num_groups": 2}),
    "LayerNormalization": ((2, MANY), {"s": np.ones(MANY), "b": np.zeros(MANY)}, {}),
    "RMSNormalization": ((2, MANY), {"s": np.ones(MANY)}, {}),
    "BatchNormalization": ((2, 3, 8), {"s": np.ones(3), "b": np.ones(3), "m": np.full(3, 200.0), "v": np.full(3, 0.5)}, {}),
    "Softmax": ((4, 300), {}, {"axis": 1}),
    "Softmax of the first axis": ((300, 4), {}, {"axis": 0}),
    "LogSoftmax": ((4, 300), {}, {"axis": 1}),
    "Celu": ((64,), {}, {"alpha": 0.7}),
    "Elu": ((64,), {}, {"alpha": 0.7}),
    "Gelu": ((64,), {}, {}),
    "Gelu by tanh": ((64,), {}, {"approximate": "tanh"}),
    "HardSigmoid": ((64,), {}, {}),
    "HardSigmoid of torch": ((64,), {}, {"alpha": 1 / 6}),
    "HardSwish": ((64,), {}, {}),
    "LeakyRelu": ((64,), {}, {}),
    "Mish": ((64,), {}, {}),
    "PRelu": ((64,), {"slope": np.array([0.3])}, {}),
    "Selu": ((64,), {}, {}),
    "Shrink": ((64,), {}, {"lambd": 0.3, "bias": 0.1}),
    "Sigmoid": ((64,), {}, {}),
    "Softplus": ((64,), {}, {}),
    "Softsign": ((64,), {}, {}),
    "Swish": ((64,), {}, {"alpha": 0.7}),
    "ThresholdedRelu": ((64,), {}, {"alpha": 0.3}),
}
"""Shape, parameters and attributes; the first word of the key is the operator."""


def answer(operator: str, kind: str, data: Array) -> Array:
    """Run one operator on data of the kind; its float parameters have the same kind."""
    number, dtype = KINDS.get(kind, (TensorProto.FLOAT, np.float32))
    _, parameters, attributes = CASES[operator]
    constants = [
        numpy_helper.from_array(a if a.dtype.kind == "i" else a.astype(dtype), name) for name, a in parameters.items()
    ]
    node = helper.make_node(operator.split()[0], ["x", *parameters], ["y"], **attributes)
    ends = [helper.make_tensor_value_info("x", number, data.shape)], [helper.make_tensor_value_info("y", number, None)]
    opset = [helper.make_opsetid("", 24)]
    model = helper.make_model(helper.make_graph([node], "g", *ends, constants), opset_imports=opset)
    (result,) = native(model)(x=tf.constant(data.astype(dtype))).values()
    return np.asarray(tf.cast(result, tf.float32))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operator", CASES)
def test_the_result_is_that_of_float32_rounded_once(operator: str, kind: str) -> None:
    shape = CASES[operator][0]
    rng = np.random.default_rng(0)
    low, high = (-4, 4) if len(shape) == 1 and shape[0] < 100 else (1, 2)
    data = rng.uniform(low, high, shape) + (200 if operator == "BatchNormalization" else 0)
    dtype = KINDS[kind][1]
    rounded = data.astype(dtype).astype(np.float32)
    expected = answer(operator, "float32", rounded).astype(dtype).astype(np.float32)
    step = float(ml_dtypes.finfo(dtype).eps)
    np.testing.assert_allclose(answer(operator, kind, rounded), expected, rtol=step, atol=step * 1e-2)


def test_other_dtypes_are_not_cast() -> None:
    seen: list[tf.DType] = []

    def record(x: Any) -> Any:
        seen.append(x.dtype)
        return x

    for dtype in (tf.float64, tf.float32, tf.int32, tf.float16, tf.bfloat16):
        assert in_single(record)(tf.ones([2], dtype)).dtype == dtype
    assert seen == [tf.float64, tf.float32, tf.int32, tf.float32, tf.float32]


@pytest.mark.parametrize("operator", ["LayerNormalization", "RMSNormalization", "GroupNormalization"])
def test_float64_is_not_narrowed_to_float32(operator: str) -> None:
    """`stash_type` 1 means float32 at least; PyTorch normalizes float64 in float64."""
    shape, parameters, attributes = CASES[operator]
    data = np.random.default_rng(0).normal(100.0, 1.0, shape)
    node = helper.make_node(operator, ["x", *parameters], ["y"], epsilon=2.0**-20, **attributes)
    ends = [[helper.make_tensor_value_info(name, TensorProto.DOUBLE, dims)] for name, dims in (("x", shape), ("y", None))]
    constants = [numpy_helper.from_array(a.astype(np.float64), name) for name, a in parameters.items()]
    graph = helper.make_graph([node], "g", *ends, constants)
    (result,) = native(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)]))(x=tf.constant(data)).values()
    groups = data.reshape(2, 2, -1) if operator == "GroupNormalization" else data.reshape(2, 1, -1)
    mean = 0.0 if operator == "RMSNormalization" else groups.mean(-1, keepdims=True)
    expected = (groups - mean) / np.sqrt(np.mean((groups - mean) ** 2, -1, keepdims=True) + 2.0**-20)
    np.testing.assert_allclose(np.asarray(result), expected.reshape(shape), rtol=1e-11, atol=1e-11)

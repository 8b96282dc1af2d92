"""ONNX Runtime's own quantized operators, compared with it; results may differ by one step, as sums are rounded differently."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.bundler.converters.native.oracle import Array, array, assert_agrees, assert_node_agrees, model_of

MS = "com.microsoft"
DTYPES = [np.uint8, np.int8]


def steps(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> Array:
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)


def scale(value: float) -> Array:
    return np.array(value, np.float32)


def zero(value: int, dtype: Any = np.uint8) -> Array:
    """Return a zero point; `value` is that for uint8, and int8 has it 128 lower."""
    return np.array(value - (128 if dtype == np.int8 else 0), dtype)


def assert_op_agrees(
    op_type: str, inputs: dict[str, Array], constants: dict[str, Array], order: list[str], **options: Any
) -> None:
    assert_node_agrees(op_type, inputs, constants, order=order, domain=MS, **{"rtol": 0, "atol": 1, **options})


@pytest.mark.parametrize("dtype", [*DTYPES, np.uint16, np.int16])
def test_quantize_and_dequantize(dtype: Any) -> None:
    constants = {"s": np.array([0.1, 0.05, 0.2], np.float32), "z": np.array([3, 4, 5], dtype)}
    assert_op_agrees("QuantizeLinear", {"x": array(2, 3, 4)}, constants, ["x", "s", "z"], axis=1, atol=0)
    assert_op_agrees(
        "DequantizeLinear", {"x": steps(2, 3, 4, dtype=dtype)}, constants, ["x", "s", "z"], axis=1, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_integer_products_in_float(columns: bool, bias: bool) -> None:
    constants = {
        "b": steps(6, 4, dtype=np.int8), "bs": np.full(4, 0.02, np.float32) * [1, 2, 3, 4] if columns else scale(0.02),
        "bz": np.array([0, 1, 2, 3] if columns else 5, np.int8), "as": scale(0.03), "az": zero(100), "bias": array(4, seed=3),
    }  # fmt: skip
    constants["bs"] = constants["bs"].astype(np.float32)
    last = ["bias"] if bias else []
    options = {"rtol": 1e-4, "atol": 1e-4}
    names = ["a", "b", "as", "bs", "az", "bz", *last]
    used = {k: v for k, v in constants.items() if k in names}
    assert_op_agrees("MatMulIntegerToFloat", {"a": steps(2, 3, 6)}, used, names, **options)
    names = ["a", "b", "bs", "bz", *last]
    used = {k: v for k, v in constants.items() if k in names}
    node = helper.make_node("DynamicQuantizeMatMul", names, ["y"], domain=MS)
    inputs = {"a": array(2, 3, 6)}
    assert_agrees(model_of([node], inputs, ["y"], used, domains={MS: 1}), inputs, **options)


@pytest.mark.parametrize("quantized", [False, True])
def test_q_gemm(quantized: bool) -> None:
    constants = {
        "as": scale(0.03), "az": zero(100), "b": steps(4, 6, dtype=np.int8), "bs": scale(0.02), "bz": np.array(2, np.int8),
        "c": np.array([100, -200, 300, 0], np.int32),
    }  # fmt: skip
    order = ["a", "as", "az", "b", "bs", "bz", "c"]
    if quantized:
        constants |= {"ys": scale(0.2), "yz": zero(120)}
        order += ["ys", "yz"]
    assert_op_agrees("QGemm", {"a": steps(3, 6)}, constants, order, transB=1, **({} if quantized else {"atol": 1e-4}))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
def test_binary_operators(op_type: str, dtype: Any) -> None:
    constants = {
        "as": scale(0.03), "az": zero(100, dtype), "bs": scale(0.05), "bz": zero(140, dtype), "cs": scale(0.1),
        "cz": zero(110, dtype),
    }  # fmt: skip
    order = ["a", "as", "az", "b", "bs", "bz", "cs", "cz"]
    assert_op_agrees(
        op_type, {"a": steps(2, 3, 5, dtype=dtype), "b": steps(2, 3, 5, dtype=dtype, seed=1)}, constants, order
    )
    assert_op_agrees(
        op_type, {"a": steps(2, 3, 5, dtype=dtype)}, {**constants, "b": steps(5, dtype=dtype, seed=1)}, order
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [("QLinearSigmoid", {}), ("QLinearLeakyRelu", {"alpha": 0.2}), ("QLinearSoftmax", {"axis": -1, "opset": 13}),
     ("QLinearSoftmax", {"axis": 1, "opset": 13}), ("QLinearSoftmax", {"axis": 1, "opset": 11})],
)  # fmt: skip
def test_unary_operators(op_type: str, attributes: dict[str, Any], dtype: Any) -> None:
    y_scale = 1 / 256 if op_type in ("QLinearSigmoid", "QLinearSoftmax") else 0.05
    constants = {
        "xs": scale(0.04),
        "xz": zero(120, dtype),
        "ys": scale(y_scale),
        "yz": zero(0 if y_scale < 0.01 else 100, dtype),
    }
    node = helper.make_node(op_type, ["x", *constants], ["y"], domain=MS, **attributes)
    inputs = {"x": steps(2, 3, 5, dtype=dtype)}
    model = model_of([node], inputs, ["y"], constants, domains={MS: 1})
    assert_agrees(model, inputs, {"x": steps(4, 3, 5, dtype=dtype, seed=1)}, rtol=0, atol=1)


@pytest.mark.parametrize("channels_last", [0, 1])
@pytest.mark.parametrize("op_type", ["QLinearGlobalAveragePool", "QLinearAveragePool"])
def test_pools(op_type: str, channels_last: int) -> None:
    constants = {"xs": scale(0.04), "xz": zero(120), "ys": scale(0.02), "yz": zero(100)}
    x = steps(2, 6, 7, 3) if channels_last else steps(2, 3, 6, 7)
    options: dict[str, Any] = {"channels_last": channels_last}
    if op_type == "QLinearAveragePool":
        options |= {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 0}
    assert_op_agrees(op_type, {"x": x}, constants, ["x", "xs", "xz", "ys", "yz"], **options)


def test_conv_with_channels_last() -> None:
    """The weights have 7 bits: on CPUs without VNNI, ONNX Runtime's sums of wider ones overflow in int16."""
    constants = {
        "xs": scale(0.04), "xz": zero(120), "w": steps(4, 3, 3, 3, dtype=np.int8) // 2, "ws": scale(0.01),
        "wz": np.array(0, np.int8), "ys": scale(0.1), "yz": zero(110), "b": np.array([100, 0, -100, 5], np.int32),
    }  # fmt: skip
    order = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"]
    assert_op_agrees("QLinearConv", {"x": steps(2, 6, 7, 3)}, constants, order, channels_last=1, pads=[1, 1, 1, 1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_concat_and_where(dtype: Any) -> None:
    constants = {
        "as": scale(0.03), "az": zero(100, dtype), "bs": scale(0.05), "bz": zero(140, dtype), "cs": scale(0.06),
        "cz": zero(110, dtype),
    }  # fmt: skip
    inputs = {"a": steps(2, 3, 5, dtype=dtype), "b": steps(2, 3, 5, dtype=dtype, seed=1)}
    assert_op_agrees("QLinearConcat", inputs, constants, ["cs", "cz", "a", "as", "az", "b", "bs", "bz"], axis=2)
    inputs["if"] = steps(2, 3, 5) > 100
    assert_op_agrees("QLinearWhere", inputs, constants, ["if", "a", "as", "az", "b", "bs", "bz", "cs", "cz"])


def test_dynamic_sizes_of_two_operands_are_distinguished() -> None:
    """Both are dequantized within the handler, and only one has a batch axis larger than 1."""
    constants = {"as": scale(0.03), "az": zero(100), "bs": scale(0.05), "bz": zero(140), "cs": scale(0.1), "cz": zero(110)}
    node = helper.make_node("QLinearAdd", ["a", "as", "az", "b", "bs", "bz", "cs", "cz"], ["c"], domain=MS)
    inputs = {"a": steps(2, 3, 5), "b": steps(1, 3, 5, seed=1)}
    dynamic = {"a": ["batch", "length", 5], "b": ["one", "length", 5]}
    model = model_of([node], inputs, ["c"], constants, domains={MS: 1}, dynamic=dynamic)
    assert_agrees(model, inputs, rtol=0, atol=1)

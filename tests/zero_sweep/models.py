"""Models that ONNX's node tests do not have: nodes that TensorFlow fuses, and operators of other domains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.bundler.converters.native.oracle import array, model_of
from tests.zero_sweep.cases import SweepCase, swept
from tests.zero_sweep.contrib import contrib_cases
from tests.zero_sweep.structures import structure_cases

MS = "com.microsoft"


def own_cases() -> Iterator[SweepCase]:
    """Return the cases."""
    yield from _products()
    yield from _convolutions()
    yield from _shapes()
    yield from structure_cases()
    yield from contrib_cases()


def _case(
    name: str, nodes: Sequence[onnx.NodeProto], inputs: Mapping[str, Any], constants: Mapping[str, Any] | None = None,
    domains: Mapping[str, int] | None = None, static: Sequence[str] = (),
) -> SweepCase:  # fmt: skip
    model = model_of(nodes, inputs, [nodes[-1].output[0]], constants, domains=domains)
    first = nodes[0]
    operator = f"{first.domain}::{first.op_type}" if first.domain else first.op_type
    return swept(name, operator, model, inputs, set(static))


def _node(op_type: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs.split(), [output], **attributes)


def _products() -> Iterator[SweepCase]:
    """Products with everything that TensorFlow fuses into them."""
    a, b, bias = array(2, 3), array(3, 4), array(4)
    yield _case("gemm", [_node("Gemm", "a b c", "y")], {"a": a, "b": b, "c": bias})
    yield _case("gemm_factors", [_node("Gemm", "a b c", "y", alpha=0.5, beta=2.0)], {"a": a, "b": b, "c": bias})
    yield _case("gemm_transposed", [_node("Gemm", "a b c", "y", transA=1, transB=1)], {"a": a.T, "b": b.T, "c": bias})
    yield _case("gemm_matrix", [_node("Gemm", "a b c", "y")], {"a": a, "b": b, "c": array(2, 4)})
    yield _case("matmul_bias", [_node("MatMul", "a b", "p"), _node("Add", "p c", "y")], {"a": a, "b": b, "c": bias})
    turned = [_node("Transpose", "a", "t"), _node("MatMul", "t b", "p"), _node("Add", "p c", "y")]
    yield _case("matmul_of_transposed", turned, {"a": a.T, "b": b, "c": bias})
    for activation in ("Relu", "Tanh", "Sigmoid", "LeakyRelu", "Elu", "Gelu"):
        nodes = [_node("Gemm", "a b c", "p"), _node(activation, "p", "y")]
        model = model_of(nodes, {"a": a, "b": b, "c": bias}, ["y"], opset=20)
        yield swept(f"gemm_{activation.lower()}", "Gemm", model, {"a": a, "b": b, "c": bias})
    scores = [_node("MatMul", "q k", "p"), _node("Mul", "p s", "m"), _node("Add", "m mask", "y")]
    operands = {"q": array(2, 3, 5, 8), "k": array(2, 3, 8, 7), "mask": array(2, 1, 1, 7)}
    yield _case("scores", scores, operands, {"s": np.float32(0.5)})
    yield _case("batched", [_node("MatMul", "q k", "p"), _node("Add", "p mask", "y")], operands)
    rows = {"x": array(2, 5, 3), "w": array(3, 4), "c": bias}
    yield _case("rows", [_node("MatMul", "x w", "p"), _node("Add", "p c", "y")], rows)
    for number, equation in enumerate(("ij,jk->ik", "bij,bjk->bik", "bhqd,bhkd->bhqk", "ij,j->i")):
        shapes = ((2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)), ((2, 3, 5, 8), (2, 3, 7, 8)), ((2, 3), (3,))
        left, right = shapes[number]
        yield _case(
            f"einsum_{number}",
            [_node("Einsum", "a b", "y", equation=equation)],
            {"a": array(*left), "b": array(*right)},
        )
    yield _case(
        "fused_matmul", [_node("FusedMatMul", "a b", "y", domain=MS, alpha=0.5)], {"a": a, "b": b}, domains={MS: 1}
    )
    gemm = _node("FusedGemm", "a b c", "y", domain=MS, activation="Relu")
    yield _case("fused_gemm", [gemm], {"a": a, "b": b, "c": bias}, domains={MS: 1})


def _convolutions() -> Iterator[SweepCase]:
    """Convolutions with constant weights: alone, with an activation, a sum, and another convolution after them."""
    x = array(2, 4, 6, 7)
    weights = {"w": array(6, 4, 3, 3), "c": array(6), "v": array(5, 6, 1, 1), "d": array(5)}
    conv = _node("Conv", "x w c", "h", pads=[1, 1, 1, 1])
    for activation in ("Relu", "LeakyRelu", "Elu", "Tanh", "Sigmoid", "HardSwish", "Softplus"):
        nodes = [conv, _node(activation, "h", "r"), _node("Conv", "r v d", "y")]
        yield _case(f"conv_{activation.lower()}", nodes, {"x": x}, weights)
    silu = [conv, _node("Sigmoid", "h", "g"), _node("Mul", "h g", "r"), _node("Conv", "r v d", "y")]
    yield _case("conv_silu", silu, {"x": x}, weights)
    summed = [conv, _node("Add", "h z", "s"), _node("Relu", "s", "y")]
    yield _case("conv_sum", summed, {"x": x, "z": array(2, 6, 6, 7)}, weights)
    both = [conv, _node("Conv", "x u c", "k"), _node("Add", "h k", "s"), _node("Relu", "s", "y")]
    yield _case("conv_branches", both, {"x": x}, {**weights, "u": array(6, 4, 1, 1)})
    scaled = [conv, _node("Mul", "h f", "y")]
    yield _case("conv_by_channel", scaled, {"x": x}, {**weights, "f": array(6, 1, 1)})
    for name, shape, attributes in (
        ("strided", (6, 4, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("same", (6, 4, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ("dilated", (6, 4, 3, 3), {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
        ("grouped", (6, 2, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
        ("depthwise", (8, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
        ("depthwise_dilated", (8, 1, 3, 3), {"group": 4, "dilations": [2, 2], "pads": [2, 2, 2, 2]}),
        ("pointwise", (6, 4, 1, 1), {}),
    ):
        kernels = {"w": array(*shape), "c": array(shape[0])}
        yield _case(f"conv_{name}", [_node("Conv", "x w c", "y", **attributes)], {"x": x}, kernels)
    line, solid = {"w": array(6, 4, 3), "c": array(6)}, {"w": array(6, 4, 2, 2, 2), "c": array(6)}
    yield _case("conv_1d", [_node("Conv", "x w c", "h"), _node("Relu", "h", "y")], {"x": array(2, 4, 9)}, line)
    yield _case("conv_3d", [_node("Conv", "x w c", "h"), _node("Relu", "h", "y")], {"x": array(2, 4, 5, 6, 7)}, solid)
    dilated = _node("Conv", "x w c", "y", dilations=[2, 2, 2])
    yield _case("conv_3d_dilated", [dilated], {"x": array(2, 4, 5, 6, 7)}, solid)
    for name, shape, attributes in (
        ("blocks", (4, 3, 2, 2), {"strides": [2, 2]}),
        ("overlapping", (4, 3, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
        ("grouped", (4, 3, 2, 2), {"strides": [2, 2], "group": 2}),
    ):
        channels = shape[1] * (2 if name == "grouped" else 1)
        kernels = {"w": array(*shape), "c": array(channels)}
        yield _case(f"transposed_{name}", [_node("ConvTranspose", "x w c", "y", **attributes)], {"x": x}, kernels)
    for name, size, attributes in (
        ("plain", 3, {}),
        ("blocks", 2, {"strides": [2, 2]}),
        ("padded", 3, {"pads": [1, 1, 1, 1]}),
    ):
        nothing = {"w": array(0, 3, size, size), "c": array(3)}
        node = _node("ConvTranspose", "x w c", "y", **attributes)
        yield _case(f"transposed_without_channels_{name}", [node], {"x": array(2, 0, 6, 7)}, nothing)
    empty = {"w": array(6, 0, 3, 3), "c": array(6)}
    yield _case("conv_without_channels", [_node("Conv", "x w c", "y")], {"x": array(2, 0, 6, 7)}, empty)


def _shapes() -> Iterator[SweepCase]:
    """What PyTorch writes for roll, adaptive pooling and padding."""
    x = array(2, 4, 6, 7)
    ends = {"b": np.int64([-2]), "e": np.int64([2**62]), "z": np.int64([0]), "a": np.int64([2])}
    roll = [_node("Slice", "x b e a", "p"), _node("Slice", "x z b a", "q"), _node("Concat", "p q", "y", axis=2)]
    yield _case("roll", roll, {"x": x}, ends)
    pads = {"p": np.int64([0, 0, 1, 2, 0, 0, 2, 1])}
    for mode in ("reflect", "edge", "wrap", "constant"):
        yield _case(f"pad_{mode}", [_node("Pad", "x p", "y", mode=mode)], {"x": x}, pads)
    for op_type in ("GlobalAveragePool", "GlobalMaxPool"):
        yield _case(op_type.lower(), [_node(op_type, "x", "y")], {"x": x})
    for op_type in ("AveragePool", "MaxPool", "LpPool"):
        for name, attributes in (("plain", {}), ("padded", {"pads": [1, 1, 1, 1]}), ("ceil", {"ceil_mode": 1})):
            node = _node(op_type, "x", "y", kernel_shape=[3, 3], strides=[2, 2], **attributes)
            yield _case(f"{op_type.lower()}_{name}", [node], {"x": x})
    flat = [_node("Shape", "x", "s", end=2), _node("Concat", "s m", "t", axis=0), _node("Reshape", "x t", "y")]
    yield _case("flatten", flat, {"x": x}, {"m": np.int64([42])})

"""ONNX Runtime's own matrix products and convolutions, compared with it; without a CPU kernel, with PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper

from bundler.errors import ConversionError
from tests.bundler.converters.native.ops.microsoft import MS, assert_op_agrees, run
from tests.bundler.converters.native.oracle import array, assert_agrees, model_of


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_fused_mat_mul(trans_a: int, trans_b: int) -> None:
    a = array(2, 3, 6, 5) if trans_a else array(2, 3, 5, 6)
    b = array(2, 3, 4, 6, seed=1) if trans_b else array(2, 3, 6, 4, seed=1)
    assert_op_agrees("FusedMatMul", {"a": a, "b": b}, transA=trans_a, transB=trans_b, alpha=0.5)
    assert_op_agrees("FusedMatMul", {"a": a}, {"b": b[0, 0]}, transA=trans_a, transB=trans_b)
    assert_op_agrees("TransposeMatMul", {"a": a, "b": b}, transA=trans_a, transB=trans_b, alpha=0.5)


def test_fused_mat_mul_with_moved_batch_axes() -> None:
    node = helper.make_node("FusedMatMul", ["a", "b"], ["y"], domain=MS, transBatchA=1, transBatchB=1)
    inputs = {"a": array(5, 3, 6), "b": array(6, 3, 4, seed=1)}
    dynamic = {"a": ["rows", 3, 6], "b": [6, 3, "columns"]}
    assert_agrees(model_of([node], inputs, ["y"], domains={MS: 1}, dynamic=dynamic), inputs)


@pytest.mark.parametrize(
    ("activation", "attributes"),
    [("Relu", {}), ("LeakyRelu", {"activation_alpha": 0.2}), ("Softmax", {"activation_axis": -1})],
)
def test_fused_mat_mul_activation(activation: str, attributes: dict[str, Any]) -> None:
    """ONNX Runtime has a GPU kernel only."""
    a, b = array(2, 5, 6), array(6, 4, seed=1)
    (got,) = run("FusedMatMulActivation", {"a": a, "b": b}, activation=activation, alpha=0.5, **attributes)
    product = torch.from_numpy(a) @ torch.from_numpy(b) * 0.5
    want = {
        "Relu": torch.relu(product), "LeakyRelu": torch.nn.functional.leaky_relu(product, 0.2), "Softmax": product.softmax(-1)
    }  # fmt: skip
    np.testing.assert_allclose(got, want[activation], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("activation", "attributes"),
    [("Relu", {}), ("LeakyRelu", {"activation_alpha": 0.2}), ("Tanh", {}), ("Sigmoid", {}), ("Softsign", {}),
     ("Softplus", {}), ("HardSigmoid", {"activation_alpha": 0.3, "activation_beta": 0.4}), ("Elu", {"activation_alpha": 0.7}),
     ("ThresholdedRelu", {"activation_alpha": 0.5})],
)  # fmt: skip
def test_fused_gemm(activation: str, attributes: dict[str, float]) -> None:
    constants = {"b": array(4, 8, seed=1), "c": array(4, seed=2)}
    assert_op_agrees(
        "FusedGemm", {"a": array(3, 8)}, constants, activation=activation, transB=1, alpha=0.5, **attributes
    )


@pytest.mark.parametrize(
    ("activation", "parameters"),
    [("Relu", []), ("LeakyRelu", [0.2]), ("HardSigmoid", [0.3, 0.4]), ("Clip", [-0.5, 0.5]), ("Tanh", [])],
)
def test_fused_conv(activation: str, parameters: list[float]) -> None:
    constants = {"w": array(4, 3, 3, 3, seed=1), "b": array(4, seed=2)}
    options: dict[str, Any] = {"activation": activation, "pads": [1, 1, 1, 1]}
    options |= {"activation_params": parameters} if parameters else {}
    assert_op_agrees("FusedConv", {"x": array(2, 3, 7, 7)}, constants, **options)


def test_fused_conv_adds_a_residual() -> None:
    inputs = {"x": array(2, 3, 7, 7), "z": array(2, 4, 7, 7, seed=3)}
    constants = {"w": array(4, 3, 3, 3, seed=1), "b": array(4, seed=2)}
    assert_op_agrees("FusedConv", inputs, constants, order=["x", "w", "b", "z"], activation="Relu", pads=[1, 1, 1, 1])


def test_an_unknown_activation_is_rejected() -> None:
    with pytest.raises(ConversionError, match="'Wobble' is not known"):
        run("FusedGemm", {"a": array(3, 8), "b": array(8, 4)}, activation="Wobble")


@pytest.mark.parametrize(
    ("bits", "zeros"), [(b, z) for b in (2, 4, 8) for z in ("none", "packed", "float") if (b, z) != (8, "float")]
)
def test_mat_mul_n_bits(bits: int, zeros: str) -> None:
    k, n, block = 40, 6, 16
    blocks, blob = 3, block * bits // 8
    rng = np.random.default_rng(bits)
    constants = {
        "b": rng.integers(0, 256, (n, blocks, blob)).astype(np.uint8),
        "scales": rng.uniform(0.01, 0.1, (n, blocks)).astype(np.float32),
    }
    if zeros == "packed":
        constants["zeros"] = rng.integers(0, 256, (n, -(-blocks * bits // 8))).astype(np.uint8)
    elif zeros == "float":
        constants["zeros"] = rng.uniform(0, 2**bits - 1, (n, blocks)).astype(np.float32)
    assert_op_agrees(
        "MatMulNBits", {"a": array(2, 3, k)}, constants, K=k, N=n, bits=bits, block_size=block, rtol=1e-3, atol=1e-3
    )

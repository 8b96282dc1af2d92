"""ONNX Runtime's own activations, products and normalizations, compared with it; those without a CPU kernel with NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper

from bundler.errors import ConversionError
from tests.bundler.converters.native.oracle import Array, array, assert_agrees, assert_node_agrees, model_of, native

MS = "com.microsoft"
X = array(2, 5, 8)


def assert_op_agrees(op_type: str, inputs: dict[str, Array], constants: dict[str, Array] | None = None, **options: Any) -> None:
    """Compare a node with ONNX Runtime at two batch sizes; with three axes, the length is dynamic too."""
    dynamic = {k: ["batch", "length", *v.shape[2:]] for k, v in inputs.items() if v.ndim == 3}
    assert_node_agrees(op_type, inputs, constants, domain=MS, **{"dynamic": dynamic, **options})


def run(op_type: str, inputs: dict[str, Array], outputs: int = 1, dtype: int = 1, **attributes: Any) -> list[Array]:
    """Run a node that ONNX Runtime has no CPU kernel for."""
    names = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, list(inputs), names, domain=MS, **attributes)
    declared = [helper.make_tensor_value_info(k, 1, ["batch", *v.shape[1:]]) for k, v in inputs.items()]
    results = [helper.make_tensor_value_info(name, dtype, None) for name in names]
    graph = helper.make_graph([node], "test", declared, results)
    versions = [helper.make_opsetid("", 21), helper.make_opsetid(MS, 1)]
    produced = native(helper.make_model(graph, opset_imports=versions, ir_version=9))(**inputs)
    return [produced[name].numpy() for name in names]


# -- activations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op_type", ["Gelu", "QuickGelu", "FastGelu"])
def test_activations(op_type: str) -> None:
    assert_op_agrees(op_type, {"x": X})


@pytest.mark.parametrize("op_type", ["BiasGelu", "FastGelu"])
def test_activations_with_a_bias(op_type: str) -> None:
    assert_op_agrees(op_type, {"x": X}, {"b": array(8, seed=1)})


def test_bias_split_gelu() -> None:
    bias = array(8, seed=1)
    (got,) = run("BiasSplitGelu", {"x": X, "b": bias})
    first, second = torch.from_numpy(X + bias).chunk(2, -1)
    np.testing.assert_allclose(got, first * torch.nn.functional.gelu(second), rtol=1e-5, atol=1e-6)


def test_bias_add() -> None:
    bias, skip = array(8, seed=1), array(2, 5, 8, seed=2)
    np.testing.assert_allclose(run("BiasAdd", {"x": X, "b": bias, "skip": skip})[0], X + bias + skip, rtol=1e-6)


def test_other_small_operators() -> None:
    assert_op_agrees("Inverse", {"x": array(3, 4, 4) + 4 * np.eye(4, dtype=np.float32)}, dynamic=None)
    assert_op_agrees("Trilu", {"x": X}, {"k": np.array(1)}, upper=0)
    assert_op_agrees("GatherND", {"x": X}, {"at": np.array([[0, 1], [1, 4]])})
    assert_op_agrees("Pad", {"x": X}, {"pads": np.array([0, 1, 0, 0, 0, 2]), "value": np.array(3, np.float32)})
    assert_op_agrees("CDist", {"a": array(3, 4)}, {"b": array(5, 4, seed=1)}, metric="euclidean")
    assert_op_agrees("CDist", {"a": array(3, 4)}, {"b": array(5, 4, seed=1)}, metric="sqeuclidean")


# -- products ------------------------------------------------------------------------------------------------------------


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


# -- normalizations --------------------------------------------------------------------------------------------------------

GAMMA, BETA, BIAS = (array(8, seed=s) for s in (1, 2, 3))


def test_skip_layer_normalization() -> None:
    inputs = {"x": X, "skip": array(2, 5, 8, seed=4)}
    assert_op_agrees("SkipLayerNormalization", inputs, {"gamma": GAMMA})
    assert_op_agrees("SkipLayerNormalization", inputs, {"gamma": GAMMA, "beta": BETA, "bias": BIAS}, epsilon=1e-3)
    assert_op_agrees(
        "SkipLayerNormalization", {"x": X}, {"skip": array(1, 5, 8, seed=4), "gamma": GAMMA, "beta": BETA}
    )


def assert_optional_outputs_agree(op_type: str, outputs: list[str], names: list[str], constants: dict[str, Array]) -> None:
    node = helper.make_node(op_type, names, outputs, domain=MS)
    inputs = {"x": X, "skip": array(2, 5, 8, seed=4)}
    dynamic = {k: ["batch", "length", 8] for k in inputs}
    wanted = [o for o in outputs if o]
    assert_agrees(model_of([node], inputs, wanted, constants, domains={MS: 1}, dynamic=dynamic), inputs)


def test_skip_operators_return_their_sum() -> None:
    outputs = ["y", "", "", "total"]
    assert_optional_outputs_agree("SkipLayerNormalization", outputs, ["x", "skip", "g", "b"], {"g": GAMMA, "b": BETA})
    assert_optional_outputs_agree(
        "SkipSimplifiedLayerNormalization", outputs, ["x", "skip", "g", "b"], {"g": GAMMA, "b": BIAS}
    )


def test_simplified_layer_normalization() -> None:
    assert_op_agrees(
        "SkipSimplifiedLayerNormalization", {"x": X, "skip": X[::-1].copy()}, {"gamma": GAMMA}, epsilon=1e-5
    )
    assert_node_agrees("SimplifiedLayerNormalization", {"x": X}, {"scale": GAMMA}, epsilon=1e-4, opset=17)
    assert_node_agrees("SimplifiedLayerNormalization", {"x": X}, {"scale": GAMMA}, outputs=2, opset=21)


@pytest.mark.parametrize("segments", [True, False])
@pytest.mark.parametrize("mask", [True, False])
def test_embed_layer_normalization(segments: bool, mask: bool) -> None:
    rng = np.random.default_rng(0)
    inputs = {"ids": rng.integers(0, 20, (2, 6)).astype(np.int32)}
    constants = {"words": array(20, 8), "places": array(16, 8, seed=1), "g": GAMMA, "b": BETA}
    order = ["ids", "", "words", "places", "", "g", "b"]
    if segments:
        inputs["kinds"] = rng.integers(0, 2, (2, 6)).astype(np.int32)
        constants["segments"] = array(2, 8, seed=2)
        order[1], order[4] = "kinds", "segments"
    if mask:
        inputs["mask"] = np.array([[1, 1, 1, 0, 0, 0], [1] * 6], np.int32)
        order.append("mask")
    dynamic = {k: ["batch", "length"] for k in inputs}
    assert_node_agrees(
        "EmbedLayerNormalization", inputs, constants, order=order, domain=MS, outputs=2, dynamic=dynamic,
        **{"mask_index_type": 1} if mask else {},
    )  # fmt: skip


@pytest.mark.parametrize("channels_last", [0, 1])
@pytest.mark.parametrize("activation", [0, 1])
def test_group_norm(channels_last: int, activation: int) -> None:
    x, skip = array(2, 8, 5, 5), array(2, 8, seed=4)
    total = torch.from_numpy(x + skip[:, :, None, None] + BIAS[:, None, None])
    inputs = {"x": x.transpose(0, 2, 3, 1).copy() if channels_last else x, "gamma": GAMMA, "beta": BETA}
    options = {"groups": 4, "activation": activation, "channels_last": channels_last}
    (plain,) = run("GroupNorm", inputs, **options)
    skipped, added = run("SkipGroupNorm", {**inputs, "skip": skip, "bias": BIAS}, outputs=2, **options)
    for got, data in ((plain, torch.from_numpy(x)), (skipped, total)):
        want = torch.nn.functional.group_norm(data, 4, torch.from_numpy(GAMMA), torch.from_numpy(BETA))
        want = torch.nn.functional.silu(want) if activation else want
        want = want.permute(0, 2, 3, 1) if channels_last else want
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(added, total.permute(0, 2, 3, 1) if channels_last else total, rtol=1e-5, atol=1e-5)

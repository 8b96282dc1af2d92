"""ONNX Runtime's own normalizations, compared with it; without a CPU kernel, with PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import helper

from tests.bundler.converters.native.ops.microsoft import MS, X, assert_op_agrees, run
from tests.bundler.converters.native.oracle import Array, array, assert_agrees, assert_node_agrees, model_of

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

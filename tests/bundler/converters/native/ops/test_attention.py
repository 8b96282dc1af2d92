"""Attention as PyTorch computes it, and rotary embeddings, with dynamic batch and length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper

from tests.bundler.converters.native.oracle import Array, array, model_of, native


def run(inputs: dict[str, Array], names: list[str], **attributes: Any) -> Array:
    node = helper.make_node("Attention", names, ["y"], **attributes)
    dynamic: dict[str, list[str | int | None]] = {"mask": ["s", "t"]}
    for name, length in (("q", "s"), ("k", "t"), ("v", "t")):
        dynamic[name] = ["b", inputs[name].shape[1], length, inputs[name].shape[3]]
    model = model_of([node], inputs, ["y"], opset=23, dynamic=dynamic)
    result: Array = native(model)(**inputs)["y"].numpy()
    return result


def expected(inputs: dict[str, Array], **options: Any) -> Array:
    tensors = {k: torch.from_numpy(v) for k, v in inputs.items()}
    mask = tensors.pop("mask", None)
    result = torch.nn.functional.scaled_dot_product_attention(
        tensors["q"], tensors["k"], tensors["v"], attn_mask=mask, **options
    )
    return np.asarray(result)


def heads(query: int = 4, shared: int = 4, length: int = 5, keys: int = 5) -> dict[str, Array]:
    return {
        "q": array(2, query, length, 8), "k": array(2, shared, keys, 8, seed=1), "v": array(2, shared, keys, 8, seed=2)
    }  # fmt: skip


@pytest.mark.parametrize("causal", [0, 1])
def test_attention_with_and_without_a_causal_mask(causal: int) -> None:
    inputs = heads()
    got = run(inputs, ["q", "k", "v"], is_causal=causal)
    np.testing.assert_allclose(got, expected(inputs, is_causal=bool(causal)), rtol=1e-5, atol=1e-6)


def test_scale_attribute() -> None:
    inputs = heads(keys=9)
    got = run(inputs, ["q", "k", "v"], scale=0.2)
    np.testing.assert_allclose(got, expected(inputs, scale=0.2), rtol=1e-5, atol=1e-6)


def test_boolean_and_additive_masks() -> None:
    inputs = heads(keys=7)
    allowed = np.random.default_rng(3).random((5, 7)) > 0.4
    allowed[:, 0] = True
    for mask in (allowed, np.where(allowed, 0, -1e4).astype(np.float32)):
        masked = {**inputs, "mask": mask}
        np.testing.assert_allclose(run(masked, ["q", "k", "v", "mask"]), expected(masked), rtol=1e-5, atol=1e-6)


def test_a_query_that_sees_no_key_gives_zeros() -> None:
    allowed = np.ones((5, 5), bool)
    allowed[2] = False
    got = run({**heads(), "mask": allowed}, ["q", "k", "v", "mask"])
    assert not got[:, :, 2].any()
    assert np.isfinite(got).all()


def test_query_heads_share_key_heads() -> None:
    inputs = heads(query=6, shared=2)
    got = run(inputs, ["q", "k", "v"])
    np.testing.assert_allclose(got, expected(inputs, enable_gqa=True), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding(interleaved: int) -> None:
    x, angles = array(2, 3, 6, 8), np.outer(np.arange(20), 10.0 ** -np.arange(4)).astype(np.float32)
    positions = np.array([[0, 1, 2, 3, 4, 5], [7, 8, 9, 10, 11, 12]], np.int64)
    node = helper.make_node("RotaryEmbedding", ["x", "cos", "sin", "at"], ["y"], interleaved=interleaved)
    inputs = {"x": x, "at": positions}
    constants = {"cos": np.cos(angles), "sin": np.sin(angles)}
    model = model_of([node], inputs, ["y"], constants, opset=23, dynamic={"x": ["b", 3, "s", 8], "at": ["b", "s"]})
    got = native(model)(**inputs)["y"].numpy()
    first, second = (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., :4], x[..., 4:])
    turned = (first + 1j * second) * np.exp(1j * angles[positions])[:, None]
    parts = [turned.real, turned.imag]
    want = np.stack(parts, -1).reshape(x.shape) if interleaved else np.concatenate(parts, -1)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)

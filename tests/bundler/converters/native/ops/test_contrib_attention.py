"""ONNX Runtime's own attention operators, compared with it, with dynamic batch and lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from bundler.errors import ConversionError
from tests.bundler.converters.native.oracle import Array, array, assert_agrees, model_of, native

MS = "com.microsoft"
BATCH, LENGTH, HEADS, HEAD = 2, 5, 4, 8
HIDDEN = HEADS * HEAD


def assert_op_agrees(
    op_type: str, inputs: dict[str, Array], names: list[str], constants: dict[str, Array] | None = None, outputs: int = 1,
    dims: dict[str, list[Any]] | None = None, **attributes: Any,
) -> None:  # fmt: skip
    """Compare a node with ONNX Runtime. Axis 0 is the batch; `dims` names all dims of an input."""
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, names, results, domain=MS, **attributes)
    dynamic = {k: ["batch", *v.shape[1:]] if v.ndim else [] for k, v in inputs.items()} | (dims or {})
    model = model_of([node], inputs, results, constants, domains={MS: 1}, dynamic=dynamic)
    assert_agrees(model, inputs)


# -- Attention -----------------------------------------------------------------------------------------------------------

PROJECTION = {"w": array(16, 3 * HIDDEN, seed=1) / 4, "b": array(3 * HIDDEN, seed=2)}
X = array(BATCH, LENGTH, 16)
X_DIMS = {"x": ["batch", "length", 16]}


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_attention(causal: int, scale: float | None) -> None:
    options = {"num_heads": HEADS, "unidirectional": causal, **({"scale": scale} if scale else {})}
    assert_op_agrees("Attention", {"x": X}, ["x", "w", "b"], PROJECTION, dims=X_DIMS, **options)


@pytest.mark.parametrize(
    "mask",
    [np.array([3, 5]), np.array([3, 5, 1, 0]), np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]]),
     np.tri(5, dtype=int)[None].repeat(2, 0)],
    ids=["ends", "ends and begins", "by key", "by query"],
)  # fmt: skip
def test_attention_masks(mask: Array) -> None:
    inputs = {"x": X, "mask": mask.astype(np.int32)}
    dims: dict[str, list[Any]] = {**X_DIMS, "mask": [f"m{i}" for i in range(mask.ndim)]}
    assert_op_agrees("Attention", inputs, ["x", "w", "b", "mask"], PROJECTION, dims=dims, num_heads=HEADS)


@pytest.mark.parametrize("causal", [0, 1])
def test_attention_with_a_past(causal: int) -> None:
    inputs = {"x": X, "past": array(2, BATCH, HEADS, 3, HEAD, seed=3)}
    dims = {**X_DIMS, "past": [2, "batch", HEADS, "past", HEAD]}
    assert_op_agrees(
        "Attention", inputs, ["x", "w", "b", "", "past"], PROJECTION, outputs=2, dims=dims, num_heads=HEADS,
        unidirectional=causal,
    )  # fmt: skip


def test_attention_with_a_bias() -> None:
    inputs = {"x": X, "bias": array(BATCH, HEADS, LENGTH, LENGTH, seed=4)}
    dims = {**X_DIMS, "bias": ["batch", HEADS, "length", "length"]}
    assert_op_agrees("Attention", inputs, ["x", "w", "b", "", "", "bias"], PROJECTION, dims=dims, num_heads=HEADS)


def test_attention_with_different_widths_of_keys_and_values() -> None:
    constants = {"w": array(16, 32 + 32 + 64, seed=1) / 4, "b": array(128, seed=2)}
    assert_op_agrees(
        "Attention", {"x": X}, ["x", "w", "b"], constants, dims=X_DIMS, num_heads=HEADS, qkv_hidden_sizes=[32, 32, 64]
    )


def test_unsupported_attributes_of_attention_are_rejected() -> None:
    node = helper.make_node("Attention", ["x", "w", "b"], ["y"], domain=MS, num_heads=HEADS, do_rotary=1)
    with pytest.raises(ConversionError, match="do_rotary"):
        native(model_of([node], {"x": X}, ["y"], PROJECTION, domains={MS: 1}))


@pytest.mark.parametrize("columns", [False, True])
def test_q_attention(columns: bool) -> None:
    rng = np.random.default_rng(0)
    inputs = {"x": rng.integers(0, 255, (BATCH, LENGTH, 16)).astype(np.uint8)}
    constants = {
        "w": rng.integers(-127, 127, (16, 3 * HIDDEN)).astype(np.int8), "b": array(3 * HIDDEN, seed=2),
        "xs": np.array(0.02, np.float32), "xz": np.array(120, np.uint8), "wz": np.array(0, np.int8),
        "ws": rng.uniform(0.001, 0.01, 3 * HIDDEN).astype(np.float32) if columns else np.array(0.004, np.float32),
    }  # fmt: skip
    if columns:
        constants["wz"] = np.zeros(3 * HIDDEN, np.int8)
    assert_op_agrees(
        "QAttention", inputs, ["x", "w", "b", "xs", "ws", "", "xz", "wz"], constants, dims=X_DIMS, num_heads=HEADS
    )


# -- MultiHeadAttention --------------------------------------------------------------------------------------------------


def projected(length: int = LENGTH) -> dict[str, Array]:
    return {
        k: array(BATCH, n, HIDDEN, seed=i) for i, (k, n) in enumerate((("q", LENGTH), ("k", length), ("v", length)))
    }


QKV_DIMS = {"q": ["batch", "length", HIDDEN], "k": ["batch", "keys", HIDDEN], "v": ["batch", "keys", HIDDEN]}


def test_multi_head_attention() -> None:
    assert_op_agrees("MultiHeadAttention", projected(7), ["q", "k", "v"], dims=QKV_DIMS, num_heads=HEADS)
    bias = {"b": array(3 * HIDDEN, seed=5)}
    assert_op_agrees(
        "MultiHeadAttention", projected(7), ["q", "k", "v", "b"], bias, dims=QKV_DIMS, num_heads=HEADS, scale=0.2
    )
    assert_op_agrees(
        "MultiHeadAttention", projected(), ["q", "k", "v"], dims=QKV_DIMS, num_heads=HEADS, unidirectional=1
    )


@pytest.mark.parametrize("mask", [np.array([3, 7]), np.array([[1, 1, 1, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1, 0]])])
def test_multi_head_attention_masks(mask: Array) -> None:
    inputs = {**projected(7), "mask": mask.astype(np.int32), "bias": array(1, HEADS, LENGTH, 7, seed=6)}
    dims = {**QKV_DIMS, "mask": ["batch", "keys"][: mask.ndim], "bias": [1, HEADS, "length", "keys"]}
    assert_op_agrees("MultiHeadAttention", inputs, ["q", "k", "v", "", "mask", "bias"], dims=dims, num_heads=HEADS)


def attended(inputs: dict[str, Array]) -> Array:
    """Run MultiHeadAttention over these inputs."""
    node = helper.make_node("MultiHeadAttention", list(inputs), ["y"], domain=MS, num_heads=HEADS)
    declared = [helper.make_tensor_value_info(k, 1, ["batch", f"n{k}", *v.shape[2:]]) for k, v in inputs.items()]
    graph = helper.make_graph([node], "test", declared, [helper.make_tensor_value_info("y", 1, None)])
    versions = [helper.make_opsetid("", 21), helper.make_opsetid(MS, 1)]
    result: Array = native(helper.make_model(graph, opset_imports=versions, ir_version=9))(**inputs)["y"].numpy()
    return result


def test_multi_head_attention_packed() -> None:
    """ONNX Runtime's CPU kernel takes separate operands only."""
    separate = projected()
    parts = [x.reshape(BATCH, LENGTH, HEADS, HEAD) for x in separate.values()]
    want = attended(separate)
    np.testing.assert_array_equal(attended({"q": np.stack(parts, 3)}), want)
    np.testing.assert_array_equal(attended({"q": separate["q"], "k": np.stack(parts[1:], 3)}), want)


def test_multi_head_attention_with_keys_by_heads() -> None:
    inputs = {
        "q": array(BATCH, LENGTH, HIDDEN),
        "k": array(BATCH, HEADS, 7, HEAD, seed=1),
        "v": array(BATCH, HEADS, 7, HEAD, seed=2),
    }
    dims = {"q": QKV_DIMS["q"], "k": ["batch", HEADS, "keys", HEAD], "v": ["batch", HEADS, "keys", HEAD]}
    assert_op_agrees("MultiHeadAttention", inputs, ["q", "k", "v"], dims=dims, num_heads=HEADS)


def test_multi_head_attention_with_a_past() -> None:
    past = {f"past_{x}": array(BATCH, HEADS, 3, HEAD, seed=8) for x in "kv"}
    dims = {**QKV_DIMS, **{k: ["batch", HEADS, "past", HEAD] for k in past}}
    assert_op_agrees(
        "MultiHeadAttention", {**projected(), **past}, ["q", "k", "v", "", "", "", "past_k", "past_v"], outputs=3,
        dims=dims, num_heads=HEADS,
    )  # fmt: skip


# -- RotaryEmbedding, GroupQueryAttention --------------------------------------------------------------------------------


def caches(width: int) -> dict[str, Array]:
    angles = np.outer(np.arange(32), 10.0 ** -np.arange(width // 2)).astype(np.float32)
    return {"cos": np.cos(angles), "sin": np.sin(angles)}


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("at", [np.array([3]), np.array([[0, 1, 2, 3, 4], [7, 8, 9, 10, 11]])])
def test_rotary_embedding(interleaved: int, at: Array) -> None:
    at_dims: list[Any] = [1] if at.ndim == 1 else ["batch", "length"]
    flat = {"x": array(BATCH, LENGTH, HIDDEN), "at": at}
    dims = {"x": ["batch", "length", HIDDEN], "at": at_dims}
    assert_op_agrees(
        "RotaryEmbedding", flat, ["x", "at", "cos", "sin"], caches(HEAD), dims=dims, interleaved=interleaved
    )
    heads = {"x": array(BATCH, HEADS, LENGTH, HEAD), "at": at}
    dims["x"] = ["batch", HEADS, "length", HEAD]
    assert_op_agrees(
        "RotaryEmbedding", heads, ["x", "at", "cos", "sin"], caches(4), dims=dims, interleaved=interleaved,
        rotary_embedding_dim=4, num_heads=HEADS,
    )  # fmt: skip


SHARED = 2
GQA_NAMES = ["q", "k", "v", "past_k", "past_v", "lengths", "total", "cos", "sin"]
GQA_DIMS: dict[str, list[Any]] = {
    "q": ["batch", "length", HEADS * 16], "k": ["batch", "length", SHARED * 16], "v": ["batch", "length", SHARED * 16],
    "past_k": ["batch", SHARED, "past", 16], "past_v": ["batch", SHARED, "past", 16], "lengths": ["batch"], "total": [],
}  # fmt: skip


def grouped(length: int, past: int, lengths: list[int]) -> dict[str, Array]:
    """Return operands with heads of 16, which ONNX Runtime requires for rotary embeddings."""
    return {
        "q": array(BATCH, length, HEADS * 16), "k": array(BATCH, length, SHARED * 16, seed=1),
        "v": array(BATCH, length, SHARED * 16, seed=2), "past_k": array(BATCH, SHARED, past, 16, seed=3),
        "past_v": array(BATCH, SHARED, past, 16, seed=4), "lengths": np.array(lengths, np.int32) - 1,
        "total": np.array(max(lengths), np.int32),
    }  # fmt: skip


def assert_grouped_agrees(inputs: dict[str, Array], names: list[str] = GQA_NAMES, **attributes: Any) -> None:
    assert_op_agrees(
        "GroupQueryAttention", inputs, names, caches(16), outputs=3, dims={k: GQA_DIMS[k] for k in inputs},
        num_heads=HEADS, kv_num_heads=SHARED, **attributes,
    )  # fmt: skip


@pytest.mark.sample(2)
@pytest.mark.parametrize("rotary", [0, 1])
@pytest.mark.parametrize("window", [-1, 3])
def test_group_query_attention_of_a_prompt_and_its_next_token(rotary: int, window: int) -> None:
    options = {"do_rotary": rotary, "local_window_size": window}
    assert_grouped_agrees(grouped(5, 0, [5, 5]), **options)
    assert_grouped_agrees(grouped(1, 6, [7, 7]), **options)


def test_group_query_attention_with_rows_of_different_lengths() -> None:
    assert_grouped_agrees(grouped(1, 6, [7, 4]), do_rotary=1, rotary_interleaved=1)


def test_group_query_attention_with_softcap_and_scale() -> None:
    assert_grouped_agrees(grouped(5, 0, [5, 5]), scale=0.2, softcap=2.0)


def test_group_query_attention_with_packed_operands() -> None:
    inputs = grouped(5, 0, [5, 5])
    inputs["q"] = np.concatenate([inputs.pop(k) for k in ("q", "k", "v")], -1)
    names = ["q", "", "", *GQA_NAMES[3:]]
    dims = {**GQA_DIMS, "q": ["batch", "length", (HEADS + 2 * SHARED) * 16]}
    assert_op_agrees(
        "GroupQueryAttention", inputs, names, caches(16), outputs=3, dims={k: dims[k] for k in inputs},
        num_heads=HEADS, kv_num_heads=SHARED, do_rotary=1,
    )  # fmt: skip

"""Files with dynamic sizes: answers after each resize, in TensorFlow Serving's order, and what XNNPACK runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from bundler.graph.provenance import FX_NODE
from bundler.values.arrays import Array
from tests.bundler.converters.native.oracle import array
from tests.bundler.tflite.lowered import Lowered
from tests.bundler.tflite.resized import Resized

SIZES = ((1, 6), (2, 6), (5, 3), (1, 4))
"""Batch and length of each call."""

_EMBEDDING = "%embedding : call_function[target=torch.ops.aten.embedding.default](args = (%weight, %ids))"


def model_of(text: str, weights: Mapping[str, Array] | None = None, *, opset: int = 23) -> onnx.ModelProto:
    model: onnx.ModelProto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]>\nsized {text}')
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in (weights or {}).items())
    return model


def ids_of(rows: int, length: int) -> Array:
    return np.arange(rows * length).reshape(rows, length) * 7 % 10


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("m = MatMul(x, w) y = Add(m, b)", {"w": array(8, 5), "b": array(5)}),
        ("y = LayerNormalization<epsilon = 0.00001>(x, g, b)", {"g": array(8), "b": array(8, seed=1)}),
        ("y = RMSNormalization<epsilon = 0.00001>(x, g)", {"g": array(8)}),
        ("m = MatMul(x, w) g = Gelu(m) y = MatMul(g, v)", {"w": array(8, 5), "v": array(5, 3)}),
    ],
    ids=["linear", "layer norm", "rms norm", "mlp"],
)
def test_xnnpack_runs_layers_over_a_batch_and_a_length(tmp_path: Path, body: str, weights: dict[str, Array]) -> None:
    resized = Resized(model_of(f"(float[batch,seq,8] x) => (float[batch,seq,n] y) {{ {body} }}", weights), tmp_path)
    for rows, length in SIZES:
        resized.assert_answers({"x": array(rows, length, 8, seed=rows)})
    assert str(resized.delegation).endswith("in 1 partition")
    assert resized.delegation.share == 1


def test_mask_as_long_as_the_keys_is_not_padded(tmp_path: Path) -> None:
    text = (
        "(float[batch,seq,8] x, bool[batch,1,seq,seq] mask) => (float[batch,seq,8] y) "
        "{ y = Attention<q_num_heads = 2, kv_num_heads = 2>(x, x, x, mask) }"
    )
    resized = Resized(model_of(text), tmp_path)
    for rows, length in SIZES:
        mask = np.repeat((ids_of(rows, length) % 3 != 1)[:, None, None], length, 2)
        mask[..., 0] = True
        resized.assert_answers({"x": array(rows, length, 8, seed=rows), "mask": mask})
    assert "PAD" not in resized.operators and "PADV2" not in resized.operators


@pytest.mark.sample(2)
@pytest.mark.parametrize("from_torch", [True, False])
def test_only_indices_of_torchs_embeddings_are_taken_as_they_are(tmp_path: Path, from_torch: bool) -> None:
    text = "(int64[batch,seq] ids) => (float[batch,seq,4] y) { y = Gather(w, ids) }"
    model = model_of(text, {"w": array(10, 4)})
    if from_torch:
        model.graph.node[0].metadata_props.add(key=FX_NODE, value=_EMBEDDING)
    resized = Resized(model, tmp_path)
    assert set(resized.operators) == ({"GATHER"} if from_torch else {"GATHER", "LESS", "ADD", "SELECT_V2"})
    for rows, length in SIZES:
        resized.assert_answers({"ids": ids_of(rows, length) - (0 if from_torch else 10)})


def test_positions_that_count_from_zero_are_taken_as_they_are(tmp_path: Path) -> None:
    text = """(float[batch,seq,4] x) => (float[batch,seq,4] y) {
        zero = Constant<value_int = 0>() one = Constant<value_int = 1>() axis = Constant<value_ints = [0]>()
        shape = Shape<start = 1, end = 2>(x) n = Squeeze(shape, axis)
        range = Range(zero, n, one) places = Unsqueeze(range, axis) rows = Gather(w, places) y = Add(x, rows)
    }"""
    resized = Resized(model_of(text, {"w": array(10, 4)}), tmp_path)
    assert "LESS" not in resized.operators
    for rows, length in SIZES:
        resized.assert_answers({"x": array(rows, length, 4, seed=rows)})


def test_coordinates_of_a_whole_mask_are_a_view(tmp_path: Path) -> None:
    grid = np.indices((2, 6)).transpose(1, 2, 0).reshape(2, 1, 1, 6, 2).astype(np.int64)
    text = "(bool[2,6] mask) => (float[2,1,1,6] y) { m = GatherND(mask, i) y = Cast<to = 1>(m) }"
    lowered = Lowered(model_of(text, {"i": grid}), {"mask": ids_of(2, 6) > 4}, tmp_path)
    assert "GATHER_ND" not in lowered.operators
    lowered.assert_answers()


def test_reshape_to_a_quotient_of_sizes_is_inferred(tmp_path: Path) -> None:
    text = """(float[batch,seq,8] x) => (float[batch,pairs,16] y) {
        shape = Shape<start = 0, end = 1>(x) rest = Constant<value_ints = [-1, 16]>() to = Concat<axis = 0>(shape, rest)
        y = Reshape(x, to)
    }"""
    resized = Resized(model_of(text), tmp_path)
    for rows, length in ((1, 6), (2, 4), (5, 2)):
        resized.assert_answers({"x": array(rows, length, 8, seed=rows)})


def test_sizes_are_divided(tmp_path: Path) -> None:
    text = """(float[batch,seq] x) => (int64[n] y) {
        zero = Constant<value_int = 0>() one = Constant<value_int = 1>() three = Constant<value_ints = [-3]>()
        shape = Shape<start = 1, end = 2>(x) five = Constant<value_ints = [5]>()
        less = Sub(shape, five) part = Div(less, three) axis = Constant<value_ints = [0]>() n = Squeeze(part, axis)
        range = Range(zero, n, one) last = Squeeze(less, axis) y = Add(range, last)
    }"""
    resized = Resized(model_of(text), tmp_path)
    for rows, length in SIZES:
        resized.assert_answers({"x": array(rows, length)})


@pytest.mark.parametrize("op", ["Abs", "Sign"])
def test_int64_that_tflites_operators_do_not_take(tmp_path: Path, op: str) -> None:
    resized = Resized(model_of(f"(int64[batch,seq] x) => (int64[batch,seq] y) {{ y = {op}(x) }}"), tmp_path)
    for rows, length in SIZES:
        resized.assert_answers({"x": ids_of(rows, length) - 4})


def test_xnnpack_runs_one_dimensional_convolutions_of_any_batch(tmp_path: Path) -> None:
    text = "(float[batch,3,9] x) => (float[batch,2,n] y) { m = Conv(x, w) r = Relu(m) y = Conv(r, v) }"
    resized = Resized(model_of(text, {"w": array(4, 3, 3), "v": array(2, 4, 3, seed=1)}), tmp_path)
    for rows in (1, 2, 5, 1):
        resized.assert_answers({"x": array(rows, 3, 9, seed=rows)})
    assert resized.delegation.share == 1


def test_transposed_convolution_of_squares_takes_any_batch(tmp_path: Path) -> None:
    text = "(float[batch,3,5,4] x) => (float[batch,2,10,8] y) { y = ConvTranspose<strides = [2, 2]>(x, w, b) }"
    weights: dict[str, Any] = {"w": array(3, 2, 2, 2), "b": array(2, seed=1)}
    resized = Resized(model_of(text, weights), tmp_path)
    for rows in (1, 2, 5, 1):
        resized.assert_answers({"x": array(rows, 3, 5, 4, seed=rows)})
    assert resized.delegation.share == 1

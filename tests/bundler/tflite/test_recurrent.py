"""Recurrent operators of TFLite: the chosen form, and independence of a call from the previous one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from bundler.converters.native.context import Context
from bundler.converters.native.ops.looped import loops
from bundler.converters.native.ops.unrolled import MOST_STEPS, unrolls
from tests.bundler.converters.native.oracle import array, model_of
from tests.bundler.tflite.lowered import Lowered
from tests.bundler.tflite.resized import Resized

T, WIDTH, H = 7, 4, 5
FUSED = "UNIDIRECTIONAL_SEQUENCE_LSTM"


def lstm(*, batch: int = 1, direction: str = "forward", outputs: tuple[str, ...] = ("y", "h"), **further: Any) -> tuple[Any, Any]:
    """Return a model of one LSTM, and its inputs."""
    count = 2 if direction == "bidirectional" else 1
    inputs = {"x": array(T, batch, WIDTH), **further.pop("inputs", {})}
    # Weights of this size drive the cell state past 10, where the converter would clip it.
    weights = {
        "w": 3 * array(count, 4 * H, WIDTH, seed=1), "r": array(count, 4 * H, H, seed=2), "b": 3 + array(count, 8 * H, seed=3),
        **further.pop("constants", {}),
    }  # fmt: skip
    names = ["x", "w", "r", "b", *further.pop("names", ())]
    node = helper.make_node("LSTM", names, outputs, direction=direction, hidden_size=H, **further)
    dynamic = {name: list(value.shape) for name, value in inputs.items()}
    return model_of([node], inputs, [o for o in outputs if o], weights, dynamic=dynamic), inputs


@pytest.fixture
def long_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every sequence too long to be unrolled."""
    monkeypatch.setattr("bundler.converters.native.ops.unrolled.MOST_STEPS", 0)


@pytest.mark.sample(2)
@pytest.mark.usefixtures("long_sequences")
@pytest.mark.parametrize(("direction", "count"), [("forward", 1), ("reverse", 1), ("bidirectional", 2)])
def test_an_lstm_is_one_operator_per_direction(tmp_path: Path, direction: str, count: int) -> None:
    lowered = Lowered(*lstm(direction=direction, batch=2), tmp_path)
    assert lowered.operators[FUSED] == count
    assert "WHILE" not in lowered.operators
    lowered.assert_answers(calls=3)


@pytest.mark.usefixtures("long_sequences")
def test_states_start_from_zero_in_every_call_of_an_int8_file(tmp_path: Path) -> None:
    lowered = Lowered(*lstm(outputs=("y",)), tmp_path, "int8")
    assert lowered.operators[FUSED] == 1
    lowered.assert_answers(atol=0.1, calls=3)


ZEROS, STATES = np.zeros((1, 1, H), np.float32), array(1, 1, H, seed=4)


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("fused", "further"),
    [
        (True, {"names": ("", "h0", "c0"), "constants": {"h0": ZEROS, "c0": ZEROS}}),
        (False, {"names": ("", "h0", "c0"), "constants": {"h0": STATES, "c0": ZEROS}}),
        (False, {"names": ("", "h0", "c0"), "inputs": {"h0": STATES, "c0": STATES}}),
        (False, {"outputs": ("y", "h", "c")}),
        (False, {"clip": 3.0}),
        (False, {"names": ("lengths",), "constants": {"lengths": np.array([T - 2], np.int32)}}),
    ],
    ids=["zeros", "constant state", "state as input", "cell state as output", "clip", "lengths"],
)
@pytest.mark.usefixtures("long_sequences")
def test_lstm_that_the_operator_cannot_express_becomes_a_loop(tmp_path: Path, fused: bool, further: dict[str, Any]) -> None:
    lowered = Lowered(*lstm(**further), tmp_path)
    assert (FUSED in lowered.operators, "WHILE" in lowered.operators) == (fused, not fused)
    lowered.assert_answers()


@pytest.mark.usefixtures("long_sequences")
def test_states_sliced_from_zeros_are_zeros(tmp_path: Path) -> None:
    """This is how torch.onnx exports nn.LSTM without states."""
    model, inputs = lstm(names=("", "h0", "h0"), constants={"sizes": np.array([2, 1, H], np.int64)})
    constants = {"first": 0, "one": 1}
    nodes = [
        helper.make_node("ConstantOfShape", ["sizes"], ["zeros"]),
        helper.make_node("Slice", ["zeros", "first", "one", "first"], ["h0"]),
    ]
    for name, value in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value], np.int64), name))
    for index, node in enumerate(nodes):
        model.graph.node.insert(index, node)
    lowered = Lowered(model, inputs, tmp_path)
    assert lowered.operators[FUSED] == 1
    lowered.assert_answers()


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "further",
    [
        {"direction": "bidirectional"},
        {"names": ("", "h0", "c0"), "inputs": {"h0": STATES, "c0": STATES}, "outputs": ("y", "h", "c")},
        {"names": ("lengths",), "constants": {"lengths": np.array([T - 2], np.int32)}},
    ],
    ids=["bidirectional", "states", "lengths"],
)
def test_short_lstm_is_unrolled_and_runs_in_the_delegate(tmp_path: Path, further: dict[str, Any]) -> None:
    lowered = Lowered(*lstm(**further), tmp_path)
    assert not {FUSED, "WHILE"} & set(lowered.operators)
    assert lowered.delegation.share > 0.8
    lowered.assert_answers()


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("op_type", "gates", "further"), [("GRU", 3, {}), ("GRU", 3, {"linear_before_reset": 1}), ("RNN", 1, {})]
)
def test_short_gru_and_rnn_are_unrolled(tmp_path: Path, op_type: str, gates: int, further: dict[str, Any]) -> None:
    inputs = {"x": array(T, 1, WIDTH)}
    weights = {"w": array(1, gates * H, WIDTH, seed=1), "r": array(1, gates * H, H, seed=2), "b": array(1, 2 * gates * H, seed=3)}
    node = helper.make_node(op_type, ["x", "w", "r", "b"], ["y", "h"], hidden_size=H, **further)
    model = model_of([node], inputs, ["y", "h"], weights, dynamic={"x": [T, 1, WIDTH]})
    lowered = Lowered(model, inputs, tmp_path)
    assert "WHILE" not in lowered.operators
    lowered.assert_answers()


def test_only_short_layers_with_small_constant_weights_are_unrolled() -> None:
    weights = np.zeros((4 * 128, 128), np.float32)
    tflite, serving = (Context(store=None, opset=20, target=target) for target in ("tflite", "serving"))  # type: ignore[arg-type]
    assert unrolls(tflite, 16, weights)
    assert not unrolls(serving, 16, weights)
    assert not unrolls(tflite, MOST_STEPS + 1, weights[:4, :1])
    assert not unrolls(tflite, 17, weights)  # 17 times 256 KiB
    assert not unrolls(tflite, None, weights)


def test_long_sequences_of_narrow_layers_do_not_loop() -> None:
    assert loops(32, 128) and loops(512, 256) and loops(30, 64)
    assert not loops(1000, 128) and not loops(256, 64) and not loops(257, 128)


@pytest.mark.sample(2)
@pytest.mark.usefixtures("long_sequences")
@pytest.mark.parametrize(("direction", "steps"), [("reverse", 7), ("bidirectional", 64)])
def test_wide_lstm_is_a_loop_in_float_and_in_int8(tmp_path: Path, direction: str, steps: int) -> None:
    inputs, wide = {"x": array(steps, 1, WIDTH)}, 32
    count = 2 if direction == "bidirectional" else 1
    weights = {"w": array(count, 4 * wide, WIDTH, seed=1), "r": 0.3 * array(count, 4 * wide, wide, seed=2)}
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], direction=direction, hidden_size=wide)
    model = model_of([node], inputs, ["y"], weights, dynamic={"x": [steps, 1, WIDTH]})
    for variant, atol in (("float32", 1e-5), ("int8", 0.1)):
        lowered = Lowered(model, inputs, tmp_path / variant, variant)  # type: ignore[arg-type]
        assert lowered.operators["WHILE"] == count
        assert "REVERSE_V2" not in lowered.operators
        lowered.assert_answers(atol=atol, rtol=1e-3)


@pytest.mark.sample(4)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("op_type", "gates", "states"), [("LSTM", 4, 2), ("GRU", 3, 1), ("RNN", 1, 1)])
def test_layer_takes_batches_and_sequences_of_any_size(
    tmp_path: Path, op_type: str, gates: int, states: int, direction: str
) -> None:
    count = 2 if direction == "bidirectional" else 1
    weights = {
        "w": array(count, gates * H, WIDTH, seed=1), "r": array(count, gates * H, H, seed=2),
        "b": array(count, 2 * gates * H, seed=3),
    }  # fmt: skip
    node = helper.make_node(op_type, ["x", "w", "r", "b"], ["y", "h", "c"][: 1 + states], direction=direction, hidden_size=H)
    model = model_of([node], {"x": array(T, 1, WIDTH)}, list(node.output), weights, dynamic={"x": ["seq", "batch", WIDTH]})
    resized = Resized(model, tmp_path)
    for batch, length in ((1, 7), (2, 7), (5, 3), (1, 4)):
        resized.assert_answers({"x": array(length, batch, WIDTH, seed=batch)})


def test_layer_takes_lengths_and_states_of_any_batch(tmp_path: Path) -> None:
    weights = {"w": array(2, 4 * H, WIDTH, seed=1), "r": array(2, 4 * H, H, seed=2), "b": array(2, 8 * H, seed=3)}
    names = ["x", "w", "r", "b", "lengths", "h0", "c0"]
    node = helper.make_node("LSTM", names, ["y", "h", "c"], direction="bidirectional", hidden_size=H)
    sizes: dict[str, list[int | str]] = {
        "x": ["seq", "batch", WIDTH], "lengths": ["batch"], "h0": [2, "batch", H], "c0": [2, "batch", H]
    }  # fmt: skip

    def inputs(batch: int, length: int) -> dict[str, Any]:
        lengths = np.arange(batch, dtype=np.int32) % length + 1
        states = {name: array(2, batch, H, seed=seed) for name, seed in (("h0", 5), ("c0", 6))}
        return {"x": array(length, batch, WIDTH, seed=batch), "lengths": lengths, **states}

    resized = Resized(model_of([node], inputs(2, T), ["y", "h", "c"], weights, dynamic=sizes), tmp_path)
    for batch, length in ((1, 7), (3, 7), (2, 4)):
        resized.assert_answers(inputs(batch, length))

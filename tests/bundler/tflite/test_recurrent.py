"""Recurrent operators of TFLite: the chosen form, and independence of a call from the previous one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.bundler.converters.native.oracle import array, model_of
from tests.bundler.tflite.lowered import Lowered

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


@pytest.mark.parametrize(("direction", "count"), [("forward", 1), ("reverse", 1), ("bidirectional", 2)])
def test_an_lstm_is_one_operator_per_direction(tmp_path: Path, direction: str, count: int) -> None:
    lowered = Lowered(*lstm(direction=direction, batch=2), tmp_path)
    assert lowered.operators[FUSED] == count
    assert "WHILE" not in lowered.operators
    lowered.assert_answers(calls=3)


def test_states_start_from_zero_in_every_call_of_an_int8_file(tmp_path: Path) -> None:
    lowered = Lowered(*lstm(outputs=("y",)), tmp_path, "int8")
    assert lowered.operators[FUSED] == 1
    lowered.assert_answers(atol=0.1, calls=3)


ZEROS, STATES = np.zeros((1, 1, H), np.float32), array(1, 1, H, seed=4)


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
def test_lstm_that_the_operator_cannot_express_becomes_a_loop(tmp_path: Path, fused: bool, further: dict[str, Any]) -> None:
    lowered = Lowered(*lstm(**further), tmp_path)
    assert (FUSED in lowered.operators, "WHILE" in lowered.operators) == (fused, not fused)
    lowered.assert_answers()


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

"""LSTM, GRU and RNN compared with ONNX Runtime: directions, lengths, initial states, peepholes, activations, clip."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.bundler.converters.native.oracle import Array, array, assert_agrees, model_of

T, B, WIDTH, H = 6, 3, 4, 5
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def assert_layer_agrees(
    kind: str, *, direction: str = "forward", lengths: bool = False, initial: bool = False, peepholes: bool = False,
    computed: bool = False, **attributes: Any,
) -> None:  # fmt: skip
    """Compare a recurrent layer with ONNX Runtime, with dynamic length and batch."""
    count, gates = (2 if direction == "bidirectional" else 1), GATES[kind]
    states = 2 if kind == "LSTM" else 1
    inputs: dict[str, Array] = {"x": array(T, B, WIDTH)}
    weights = {
        "w": array(count, gates * H, WIDTH, seed=1), "r": array(count, gates * H, H, seed=2),
        "b": array(count, 2 * gates * H, seed=3),
    }  # fmt: skip
    names = ["x", "w", "r", "b", "lengths" if lengths else ""]
    if lengths:
        inputs["lengths"] = np.array([6, 1, 4], np.int32)
    for i in range(states):
        names.append(f"s{i}" if initial else "")
        if initial:
            inputs[f"s{i}"] = array(count, B, H, seed=4 + i)
    if peepholes:
        names.append("p")
        weights["p"] = array(count, 3 * H, seed=7)
    if computed:
        inputs.update(weights)
        weights = {}
    outputs = ["y", "h", "c"][: states + 1]
    node = helper.make_node(kind, names, outputs, direction=direction, hidden_size=H, **attributes)
    dynamic = {k: ["t", "b", WIDTH] if k == "x" else ["b"] if k == "lengths" else list(v.shape) for k, v in inputs.items()}
    model = model_of([node], inputs, outputs, weights, dynamic=dynamic)
    assert_agrees(model, inputs)


@pytest.mark.sample(3)
@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("lengths", [False, True])
def test_directions_and_lengths(kind: str, direction: str, lengths: bool) -> None:
    assert_layer_agrees(kind, direction=direction, lengths=lengths, initial=True)


@pytest.mark.parametrize("kind", GATES)
def test_without_initial_states(kind: str) -> None:
    assert_layer_agrees(kind)


@pytest.mark.parametrize("kind", GATES)
def test_computed_weights(kind: str) -> None:
    assert_layer_agrees(kind, direction="bidirectional", computed=True)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_peepholes(direction: str) -> None:
    assert_layer_agrees("LSTM", direction=direction, peepholes=True, initial=True)


@pytest.mark.parametrize("reset", [0, 1])
def test_linear_before_reset(reset: int) -> None:
    assert_layer_agrees("GRU", linear_before_reset=reset)


def test_other_activations() -> None:
    assert_layer_agrees(
        "LSTM", activations=["HardSigmoid", "Softsign", "LeakyRelu"], activation_alpha=[0.3, 0.2],
        activation_beta=[0.4],
    )  # fmt: skip
    assert_layer_agrees("RNN", activations=["Relu"])


def test_clip_and_coupled_gates() -> None:
    assert_layer_agrees("LSTM", clip=0.5)
    assert_layer_agrees("LSTM", input_forget=1)
    assert_layer_agrees("GRU", clip=0.5)

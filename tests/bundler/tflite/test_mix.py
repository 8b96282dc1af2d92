"""The search for a mix, on made-up models whose solution is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from bundler.tflite.layers import Layer
from bundler.tflite.mix import MEASURED_ALONE, decibels, ranked, smallest


def layers(count: int, operator: str = "CONV_2D") -> list[Layer]:
    return [Layer((f"{operator}-{i}",), operator, (f"node_{operator}_{i}",)) for i in range(count)]


class CountingGate:
    """A gate that passes if all required layers are float; records its calls."""

    def __init__(self, *required: Layer) -> None:
        self.required = set(required)
        self.calls: list[frozenset[Layer]] = []

    def __call__(self, float_layers: Sequence[Layer]) -> bool:
        self.calls.append(frozenset(float_layers))
        return self.required <= set(float_layers)


@pytest.mark.parametrize("indices", [(), (0,), (1,), (0, 1), (2, 5), (11,), (0, 19), tuple(range(20))])
def test_exactly_the_required_layers_are_found(indices: tuple[int, ...]) -> None:
    order = layers(20)
    gate = CountingGate(*(order[i] for i in indices))
    mix = smallest(order, gate)
    assert mix is not None
    assert set(mix) == gate.required
    assert len(gate.calls) == len(set(gate.calls)) < 44


def test_there_is_no_mix_if_even_all_layers_in_float_fail() -> None:
    assert smallest(layers(6), lambda float_layers: False) is None


def test_all_layers_of_an_operator_are_returned_to_int8_at_once() -> None:
    convs, norms = layers(40), layers(40, "MEAN")
    order = [layer for pair in zip(norms, convs, strict=True) for layer in pair]
    gate = CountingGate(*norms)
    assert set(smallest(order, gate) or ()) == set(norms)
    assert len(gate.calls) < 50


def test_few_layers_are_all_measured_individually() -> None:
    convs = layers(5)
    noises = {layer.tensors[0]: 10.0**-i for i, layer in enumerate(convs)}
    calls: list[Sequence[Sequence[str]]] = []

    def measure(groups: Sequence[Sequence[str]]) -> list[float]:
        calls.append(groups)
        return [sum(noises[tensor] for tensor in group) for group in groups]

    losses = ranked(convs[::-1], measure)
    assert [loss.layer for loss in losses] == convs
    assert [round(loss.sqnr_db) for loss in losses] == [0, 10, 20, 30, 40]
    assert not any(loss.shared for loss in losses)
    assert len(calls) == 1


def test_among_many_layers_only_those_of_the_worst_operators_are_measured_individually() -> None:
    norms, convs = layers(50, "MEAN"), layers(200)
    culprit = norms[17].tensors[0]
    count = 0

    def measure(groups: Sequence[Sequence[str]]) -> list[float]:
        nonlocal count
        count += len(groups)
        return [sum(1.0 if t == culprit else 1e-3 if t.startswith("MEAN") else 1e-6 for t in group) for group in groups]

    losses = ranked([*convs, *norms], measure)
    assert losses[0].layer == norms[17]
    assert {loss.layer for loss in losses[:50]} == set(norms)
    assert count == 2 + 50 + 200  # the second worst operator starts below the limit, so all its layers are measured
    assert 50 < MEASURED_ALONE < 250


def test_decibels_of_noise_to_signal_ratios() -> None:
    assert decibels(0.01) == pytest.approx(20)
    assert decibels(0) == math.inf
    assert decibels(math.inf) == -math.inf

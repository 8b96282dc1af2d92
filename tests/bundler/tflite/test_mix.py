"""The search of a mix, and the names of layers, on made-up models whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from bundler.errors import UsageError
from bundler.tflite.layers import Layer, Names, chosen, listed
from bundler.tflite.mix import MEASURED_ALONE, decibels, ranked, smallest


def layers(count: int, operator: str = "CONV_2D") -> list[Layer]:
    return [Layer((f"{operator}-{i}",), operator, (f"node_{operator}_{i}",)) for i in range(count)]


class Asked:
    """A gate that passes when all the layers in need are float; counts its questions."""

    def __init__(self, *needed: Layer) -> None:
        self.needed = set(needed)
        self.questions: list[frozenset[Layer]] = []

    def __call__(self, kept: Sequence[Layer]) -> bool:
        self.questions.append(frozenset(kept))
        return self.needed <= set(kept)


@pytest.mark.parametrize("places", [(), (0,), (1,), (0, 1), (2, 5), (11,), (0, 19), tuple(range(20))])
def test_exactly_the_layers_in_need_are_found(places: tuple[int, ...]) -> None:
    order = layers(20)
    gate = Asked(*(order[i] for i in places))
    found = smallest(order, gate)
    assert found is not None
    assert set(found) == gate.needed
    assert len(gate.questions) == len(set(gate.questions)) < 44


def test_no_set_of_layers_may_be_enough() -> None:
    assert smallest(layers(6), lambda kept: False) is None


def test_all_layers_of_an_operator_are_given_back_at_once() -> None:
    convs, norms = layers(40), layers(40, "MEAN")
    order = [layer for pair in zip(norms, convs, strict=True) for layer in pair]
    gate = Asked(*norms)
    assert set(smallest(order, gate) or ()) == set(norms)
    assert len(gate.questions) < 50


def test_few_layers_are_all_measured_alone() -> None:
    every = layers(5)
    noises = {layer.tensors[0]: 10.0**-i for i, layer in enumerate(every)}
    asked: list[Sequence[Sequence[str]]] = []

    def measure(groups: Sequence[Sequence[str]]) -> list[float]:
        asked.append(groups)
        return [sum(noises[tensor] for tensor in group) for group in groups]

    found = ranked(every[::-1], measure)
    assert [loss.layer for loss in found] == every
    assert [round(loss.sqnr_db) for loss in found] == [0, 10, 20, 30, 40]
    assert not any(loss.shared for loss in found)
    assert len(asked) == 1


def test_of_many_layers_the_worst_operators_are_taken_apart() -> None:
    norms, convs = layers(50, "MEAN"), layers(200)
    culprit = norms[17].tensors[0]
    count = 0

    def measure(groups: Sequence[Sequence[str]]) -> list[float]:
        nonlocal count
        count += len(groups)
        return [sum(1.0 if t == culprit else 1e-3 if t.startswith("MEAN") else 1e-6 for t in group) for group in groups]

    found = ranked([*convs, *norms], measure)
    assert found[0].layer == norms[17]
    assert {loss.layer for loss in found[:50]} == set(norms)
    assert count == 2 + 50 + 200  # the second worst operator begins below the limit, and is measured whole
    assert 50 < MEASURED_ALONE < 250


def test_decibels() -> None:
    assert decibels(0.01) == pytest.approx(20)
    assert decibels(0) == math.inf
    assert decibels(math.inf) == -math.inf


NAMES = Names({"node_conv": ("features.0", "features.1"), "node_relu": ("features.2",), "node_fc": ("head",)}, ["node_fc"])


def test_layers_have_the_names_of_modules() -> None:
    found = NAMES.layers(
        [("node_relu/Relu;node_conv/Conv2D;node_conv/Const", "CONV_2D"), ("StatefulPartitionedCall:0", "FULLY_CONNECTED"),
         ("StatefulPartitionedCall_1:0", "FULLY_CONNECTED"), ("other", "ADD"), ("other1", "ADD")]
    )  # fmt: skip
    assert [str(layer) for layer in found] == ["features.0 (CONV_2D)", "head (FULLY_CONNECTED)", "other (ADD)", "other1 (ADD)"]
    assert found[0].modules == ("features.0", "features.1", "features.2")
    assert found[1].tensors == ("StatefulPartitionedCall:0", "StatefulPartitionedCall_1:0")  # two signatures
    for pattern, count in (("features", 1), ("features.2", 1), ("feat*", 1), ("CONV_2D", 1), ("node_*", 2), ("ADD", 2), ("*", 4)):
        assert len(chosen(found, (pattern,))) == count, pattern
    with pytest.raises(UsageError, match=r"matches 'feature'(.|\n)*features\.0, head, other"):
        chosen(found, ("head", "feature"))


def test_long_lists_are_cut() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcdefghij")) == "a, b, c, d, e, f, g, h and 2 more"

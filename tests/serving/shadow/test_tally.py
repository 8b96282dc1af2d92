"""The figures of a comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from serving.client.prepared_request import PreparedRequest
from serving.errors import DeadlineError, ProtocolError, RequestError
from serving.shadow.answers import compare_answers
from serving.shadow.source import Logged
from serving.shadow.tally import Tally, status_of, summaries


def logged(index: int, inputs: Mapping[str, np.ndarray] | None = None) -> Logged:
    return Logged(index, Path("log"), index + 1, PreparedRequest("m", inputs or {"x": np.float32([1.0])}))


def add(tally: Tally, index: int, first: object, second: object, *, agrees: bool = False) -> None:
    compared = compare_answers({"y": np.array(first)}, {"y": np.array(second)}, verb="Predict")
    tally.add_answers(logged(index), compared, (0.001, 0.002), agrees)


def test_differences_of_many_requests_are_joined() -> None:
    tally = Tally(1e-4)
    add(tally, 0, [1.0, 1.0], [1.0, 1.0], agrees=True)
    add(tally, 1, [1.0, 1.0], [1.0, 1.5])
    add(tally, 2, [1.0], [1.0, 2.0])
    figures = tally.outputs["serving_default", "y"]
    assert (figures.requests, figures.differing, figures.incomparable) == (3, 2, 1)
    assert (figures.max_abs, figures.max_rel, figures.mean_abs) == (0.5, 0.5, 0.125)
    assert figures.problem == "expected shape [1], got [2]"
    assert (tally.requests, tally.agreed, tally.differed, tally.compared) == (3, 1, 2, 3)
    assert tally.sides[1].percentile_ms(50) == pytest.approx(2.0) and tally.sides[0].answered == 3


def test_worst_requests_come_first_and_no_more_than_wanted_are_kept() -> None:
    tally = Tally(1e-4, 3)
    for index in range(50):
        add(tally, index, [1.0], [1.0 + index / 100], agrees=index == 0)
    add(tally, 50, [1], [2])
    assert [each.where for each in tally.worst] == ["record 51 of log", "record 50 of log", "record 49 of log"]
    assert tally.worst[0].explanation == "output 'y' at [0]: 1 and 2"
    assert tally.worst[1].explanation == "output 'y' at [0]: 1.0 and 1.49 (relative difference 0.49)"
    assert len(tally._worst) == 3


def test_equal_answers_are_never_among_the_worst_and_tolerated_ones_come_last() -> None:
    tally = Tally(0.1)
    add(tally, 0, [1.0], [1.0], agrees=True)
    add(tally, 1, [1.0], [1.05], agrees=True)
    add(tally, 2, [1.0], [1.2])
    assert [(each.where, each.agrees) for each in tally.worst] == [("record 3 of log", False), ("record 2 of log", True)]
    assert "1.0 and 1.05" in tally.worst[1].explanation
    none = Tally(0.1, 0)
    add(none, 0, [1.0], [2.0])
    assert none.worst == ()


def test_failure_of_one_version_is_a_difference_and_of_both_is_not() -> None:
    tally, refused = Tally(1e-4), RequestError("INVALID_ARGUMENT: no input x", status="INVALID_ARGUMENT")
    tally.add_failures(logged(0), (None, refused), ("one", "two"))
    tally.add_failures(logged(1), (DeadlineError("late"), refused), ("one", "two"))
    assert (tally.one_failed, tally.both_failed, tally.compared, tally.requests) == (1, 1, 1, 2)
    assert tally.sides[1].failures == {"INVALID_ARGUMENT": 2} and tally.sides[0].failures == {"DEADLINE_EXCEEDED": 1}
    assert tally.sides[1].examples == {"INVALID_ARGUMENT": "record 1 of log: INVALID_ARGUMENT: no input x"}
    assert [each.explanation for each in tally.worst] == ["only two fails: INVALID_ARGUMENT: no input x"]
    assert status_of(ProtocolError("odd")) == "ProtocolError"


def test_texts_and_booleans_leave_no_infinite_figure_in_json() -> None:
    tally = Tally(1e-4)
    add(tally, 0, ["a"], ["b"])
    text = json.dumps(tally.outputs["serving_default", "y"].to_json(), allow_nan=False)
    assert "max_rel" not in text and '"differing": 1' in text


def test_summaries_tell_ranges_and_of_texts_only_lengths() -> None:
    inputs = {
        "a": np.float32([[1.5, np.nan]]), "b": np.array([b"secret", b"pass"], object), "c": np.zeros((0, 3)),
        "d": np.array([True]), "e": np.array([7, 9], np.uint8), "f": np.array([1j]), "g": np.float32([np.inf]),
    }  # fmt: skip
    assert summaries(inputs) == (
        "a: float32[1,2] from 1.5 to 1.5, 1 not finite",
        "b: string[2] of 4 to 6 bytes",
        "c: float64[0,3]",
        "d: bool[1]",
        "e: uint8[2] from 7 to 9",
        "f: complex128[1]",
        "g: float32[1], 1 not finite",
    )
    assert summaries({f"x{number}": np.zeros(1) for number in range(12)})[-1] == "4 more"

"""The choice between candidates, and the Pareto front."""

from __future__ import annotations

from dataclasses import replace

import pytest

from serving.advise.forms import Candidate, Form
from serving.advise.settings import Setting
from serving.advise.trials import Comparison, Goal, Trial, best_of, pareto_front
from tests.serving.advise.advised import BATCHED, FAST, FLOAT32, INT8, advice, figures, trial

REFERENCE = trial(Candidate(FLOAT32, Setting()), 1.0)
MANY = trial(BATCHED, 3.0, 0.8)
QUICK = trial(Candidate(FAST, Setting(pools=2)), 2.0, 2.0)
SMALL = trial(Candidate(INT8, Setting(pools=2)), 0.5, 0.4)
FAILED = trial(Candidate(INT8, Setting(pools=1)), 9.0, 9.0, failed=3)
BELOW = Trial(Candidate(INT8, Setting()), failure="below its gate")
ALL = [REFERENCE, MANY, QUICK, SMALL, FAILED, BELOW]


def test_the_front_has_what_is_best_at_something_and_nothing_that_failed() -> None:
    assert pareto_front(ALL) == [MANY, QUICK, SMALL]
    assert pareto_front([BELOW]) == []
    same = trial(Candidate(FAST, Setting(pools=1)), 2.0, 2.0)
    assert pareto_front([QUICK, same]) == [QUICK, same], "equal figures do not dominate each other"


@pytest.mark.parametrize(("goal", "best"), [("throughput", MANY), ("latency", QUICK), ("size", SMALL)])
def test_the_goal_chooses(goal: Goal, best: Trial) -> None:
    assert best_of(ALL, goal) is best


def test_of_candidates_that_are_nearly_equal_the_one_that_is_best_otherwise_is_chosen() -> None:
    quicker = trial(Candidate(FAST, Setting(pools=1)), 2.9, 1.8)
    assert best_of([MANY, quicker, QUICK], "throughput") is quicker
    busier = trial(Candidate(FAST, Setting(pools=3)), 2.5, 1.95)
    assert best_of([MANY, QUICK, busier], "latency") is busier
    assert best_of([FAILED, BELOW], "latency") is FAILED


def test_of_settings_of_the_smallest_form_the_one_with_most_requests_is_chosen() -> None:
    faster = trial(Candidate(INT8, Setting(pools=3)), 0.6, 0.4)
    assert best_of([*ALL, faster], "size") is faster


def test_a_turn_in_which_the_machine_stopped_does_not_count() -> None:
    own = replace(figures(90), rates=(100.0, 120.0, 110.0, 100.0, 120.0))
    stopped = replace(figures(20), rates=(100.0, 0.0, 1.0, 100.0, 100.0))
    assert Comparison(own, stopped).gain == pytest.approx(1.1)


def test_failures_are_told() -> None:
    assert FAILED.problem == "3 of its requests failed: the batch cannot be joined" and FAILED.gain == FAILED.speedup == 0
    assert BELOW.to_json()["problem"] == "below its gate" and "loaded" not in BELOW.to_json()


@pytest.mark.parametrize(
    ("goal", "gain", "speedup", "form", "better"),
    [
        ("throughput", 1.2, 0.9, FAST, True),
        ("throughput", 1.02, 3.0, FAST, False),
        ("latency", 0.5, 1.1, FAST, True),
        ("latency", 3.0, 1.0, FAST, False),
        ("size", 0.2, 0.2, INT8, True),
        ("size", 1.2, 1.0, FLOAT32, True),
        ("size", 1.0, 1.0, FLOAT32, False),
        ("size", 9.0, 9.0, replace(FAST, size_bytes=980), False),
    ],
)
def test_the_best_has_to_be_better_than_the_reference(
    goal: Goal, gain: float, speedup: float, form: Form, better: bool
) -> None:
    result = advice(gain, Candidate(form, Setting(1)), speedup=speedup, goal=goal)
    assert (result.best is not None) == better


def test_json_has_every_trial_with_its_accuracy() -> None:
    result = advice(2.0, Candidate(INT8, Setting(pools=2))).to_json()
    reference, best = result["trials"]
    assert best["form"]["precision"] == "int8" and best["accuracy"]["sqnr_db"] == 43
    assert best["pareto"] and not reference["pareto"]
    assert best["flags"] == ["--prefer_tflite_model=true", "--num_tflite_pools=2"]
    assert result["mix"]["rows"] == {"2": 1}

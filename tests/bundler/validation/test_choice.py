"""The choice of the form that a build with `optimize` serves, with measurements that are given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bundler.validation import choice
from bundler.validation.choice import Choice, MadeForm, choose
from serving.advise.forms import Accuracy, Candidate
from serving.advise.settings import Setting
from serving.advise.trials import Goal
from serving.errors import NotReadyError
from tests.serving.advise.advised import FAST, FLOAT32, INT8, REQUEST, advice, trial

MIXED = replace(FLOAT32, mixed_precision=True)
MADE = [MadeForm(FLOAT32, Accuracy()), MadeForm(FAST, Accuracy(1e-6)), MadeForm(INT8, Accuracy(2e-2, 43.0))]


def measured(monkeypatch: pytest.MonkeyPatch, gain: float, form: Any, *, first: float = 1.0, goal: Goal = "throughput") -> Choice:
    """Choose between forms of which one reaches a gain, and the float32 SavedModel another one with its best setting."""
    result = advice(gain, Candidate(form, Setting(pools=2)), goal=goal)
    own = trial(Candidate(FLOAT32, Setting(1)), first)
    result = replace(result, trials=(result.trials[0], own, result.trials[1]))
    monkeypatch.setattr(choice, "advise", lambda *_: result)
    return choose(goal, MADE, REQUEST, {"SavedModel bfloat16": "below its gate"})


def test_the_best_form_is_served_and_the_others_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = measured(monkeypatch, 2.0, INT8)
    assert chosen.winner.form == INT8 and chosen.model == {"fast_path": "int8"}
    assert chosen.serving == {"mixed_precision": None}
    record = chosen.to_json()
    assert record["winner"] == "model.tflite int8" and record["left_out"] == {"SavedModel bfloat16": "below its gate"}
    assert [row["pareto"] for row in record["rows"]] == [False, False, True]
    assert record["rows"][2]["gain"] == 2 and record["rows"][2]["accuracy"]["sqnr_db"] == 43
    assert list(chosen.notices("m")) == [
        "m: model.tflite int8 is served, the best in throughput.", "m: SavedModel bfloat16 took no part: below its gate"
    ]  # fmt: skip


def test_a_form_that_the_float32_savedmodel_nearly_reaches_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = measured(monkeypatch, 1.5, FAST, first=1.48)
    assert chosen.winner == Candidate(FLOAT32, Setting(1)) and chosen.model == {"precision": "float32", "fast_path": False}
    assert chosen.serving == {"mixed_precision": None, "clients": "many"}
    assert "no other form that passed its gate is better in throughput" in next(chosen.notices("m"))


def test_the_flag_and_bfloat16_are_settings_of_the_server_and_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(monkeypatch, 2.0, MIXED).serving["mixed_precision"] == "bfloat16"
    lower = replace(FLOAT32, precision="bfloat16")
    assert measured(monkeypatch, 2.0, lower).model == {"precision": "bfloat16", "fast_path": False}


def test_the_smallest_form_wins_whatever_its_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(monkeypatch, 0.3, INT8, goal="size").winner.form == INT8


def test_every_form_below_its_gate_leaves_the_float32_savedmodel() -> None:
    left_out = {"SavedModel bfloat16": "below its gate", "model.tflite float32": "cannot be made"}
    chosen = choose("latency", MADE[:1], REQUEST, left_out)
    assert chosen.winner == Candidate(FLOAT32, Setting()) and chosen.serving["clients"] == "few" and not chosen.trials
    notices = list(chosen.notices("m"))
    assert notices[0].startswith("m: the float32 SavedModel is served") and len(notices) == 3


def test_forms_that_cannot_be_measured_leave_the_float32_savedmodel(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise NotReadyError("The embedded server did not start.", code="TFB6205")

    monkeypatch.setattr(choice, "advise", fails)
    chosen = choose("throughput", MADE, REQUEST, {})
    assert chosen.winner.form == FLOAT32 and chosen.to_json()["problem"] == "The embedded server did not start."
    assert "could not be measured: The embedded server did not start." in next(chosen.notices("m"))

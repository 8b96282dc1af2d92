"""The report's section on the form that was chosen."""

from __future__ import annotations

import json

from bundler.bundle.schema import ChoiceRecord
from bundler.render.report.choice import choice_view

RECORD = {
    "goal": "throughput",
    "winner": "model.tflite int8",
    "rows": [
        {
            "form": "model.tflite int8", "setting": "interpreters 2", "pareto": True, "size_bytes": 2048, "clients": 4,
            "accuracy": {"max_rel": 0.02, "sqnr_db": 43.2}, "per_second": 812.4, "p99_ms": 9.5, "alone_ms": 1.25, "gain": 2.6,
        },
        {"form": "SavedModel float32", "setting": "no flags", "pareto": False, "size_bytes": 8192, "problem": "it crashed"},
    ],
    "left_out": {"SavedModel bfloat16": "below its gate"},
}  # fmt: skip


def test_every_form_is_a_row_and_every_other_a_note() -> None:
    view = choice_view(ChoiceRecord.model_validate_json(json.dumps(RECORD)))
    assert view is not None
    assert view.summary.startswith("Chosen by throughput: model.tflite int8. Requests per second are those of 4 clients")
    best, failed = view.rows
    assert best == ("model.tflite int8", "interpreters 2", "1.25 ms", "812", "9.5 ms", "2 KiB", "43 dB", "yes")
    assert failed[-1] == "failed: it crashed" and failed[2:5] == ("–", "–", "–")
    assert view.notes == ("SavedModel bfloat16 took no part: below its gate",)


def test_forms_that_could_not_be_measured_are_told() -> None:
    record = {"goal": "size", "winner": "SavedModel float32", "problem": "the server did not start"}
    view = choice_view(ChoiceRecord.model_validate_json(json.dumps(record)))
    assert view is not None and not view.rows
    assert view.notes == ("The forms could not be measured: the server did not start",)
    assert choice_view(None) is None

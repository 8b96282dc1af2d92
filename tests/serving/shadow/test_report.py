"""The verdict of a comparison, and its bounds."""

from __future__ import annotations

import json

import pytest

from serving.shadow.report import Bounds, share_text
from serving.shadow.source import LeftOut
from serving.shadow.tally import Tally
from tests.serving.shadow.shadowed import report, tally


def test_verdict_has_agreement_failures_and_speed() -> None:
    assert report().verdict() == (
        "98 of 100 requests agree (98 %, values within the tolerance), 1 differ, 1 answered by only one; "
        "canary takes 1.5 times as long (median)"
    )


@pytest.mark.parametrize(
    ("bounds", "number"),
    [(Bounds(), 0), (Bounds(0.02, 1.6), 0), (Bounds(0.019), 1), (Bounds(None, 1.4), 1), (Bounds(0.0, 1.0), 2)],
)
def test_bounds_are_exceeded_only_beyond_them(bounds: Bounds, number: int) -> None:
    assert len(report().exceeded(bounds)) == number
    assert report().to_json(bounds)["passed"] is (number == 0)


def test_nothing_exceeds_a_bound_without_answers() -> None:
    empty = report(tally=Tally(1e-4))
    assert empty.exceeded(Bounds(0.0, 0.01)) == [] and empty.to_json(Bounds(0.0))["passed"] is False
    assert empty.disagreement is None and empty.noise is None and empty.latency_ratio() is None


def test_incomplete_comparison_does_not_pass() -> None:
    data = report(incomplete=("It was interrupted after 3 requests.",)).to_json()
    assert (data["passed"], data["complete"], data["incomplete"]) == (False, False, ["It was interrupted after 3 requests."])


def test_json_has_every_figure() -> None:
    data = json.loads(json.dumps(report().to_json(Bounds(0.001)), allow_nan=False))
    assert data["disagreement"] == 0.02 and data["latency_ratio"]["p50"] == pytest.approx(1.5)
    assert data["versions"][1] == {
        "name": "canary", "version": 2, "answered": 99, "failed": 1, "failures": {"INTERNAL": 1},
        "examples": {"INTERNAL": "record 100 of a|b.tfrecord: INTERNAL: | broken"}, "p50_ms": 3.0, "p99_ms": 3.0,
    }  # fmt: skip
    assert data["exceeded"] == ["The versions differ on 2 % of the requests; at most 0.1 % is allowed."]
    assert data["worst"][0]["where"] == "record 100 of a|b.tfrecord"


def test_notes_tell_what_was_left_out_and_that_few_answers_give_no_latency() -> None:
    left_out = LeftOut()
    left_out.kinds["session_run_log"] = 2
    left_out.models["ocr"] = 1
    notes = report(left_out=left_out, tally=tally(3, 0, 0), changes=("Only version 2 has the signature 'x'.",)).notes()
    assert notes == [
        "2 records of session_run_log skipped: the client has no call for SessionRun.",
        "1 request of the model 'ocr' skipped.",
        "Only version 2 has the signature 'x'.",
        "3 answers are too few for a latency to rely on.",
    ]


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (1.0, "100 %"), (1e-4, "0.01 %"), (0.99999, "99.999 %"), (1e-6, "0.0001 %"), (0.12345, "12.3 %")],
)
def test_share_close_to_none_or_all_does_not_look_like_it(share: float, text: str) -> None:
    assert share_text(share) == text

"""Every lowering with every subset of its dynamic sizes at 0, with and without oneDNN, in processes that may crash.

Of sizes of one model, up to five are combined freely, of more only up to two at a time. All of this takes about eight minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bundler.converters.native.registry import builtin
from tests.zero_sweep.cases import all_cases, find
from tests.zero_sweep.known import NOT_SWEPT, ROWS, row_of
from tests.zero_sweep.models import own_cases
from tests.zero_sweep.sweep import Outcome, run

SAMPLE = (
    "gemm_relu",
    "scores",
    "conv_sum",
    "conv_depthwise",
    "transposed_without_channels_blocks",
    "loop_collected_of_dynamic_length",
    "maxpool_ceil",
)
"""Cases of the fast suite: those in which TensorFlow's kernels are wrong or end the process."""

Report = Callable[[str, object], None]


def test_the_sample_has_no_wrong_answer_and_no_crash(tmp_path: Path, record_property: Report) -> None:
    assert_right_or_explained(run(SAMPLE, tmp_path, onednn=True), "sample", record_property)


@pytest.mark.slow
def test_no_lowering_has_a_wrong_answer_or_a_crash(tmp_path: Path, record_property: Report) -> None:
    outcomes = run(list(all_cases()), tmp_path, onednn=True)
    assert_right_or_explained(outcomes, "oneDNN", record_property)
    used = {row_of(o.kind, find(o.case).operator, o.text) for o in outcomes}
    assert [row for row in ROWS if row.is_certain and row not in used] == [], "these rows no longer apply"


@pytest.mark.slow
def test_no_kernel_without_onednn_is_wrong_or_crashes(tmp_path: Path, record_property: Report) -> None:
    names = [case.name for case in own_cases()]
    assert_right_or_explained(run(names, tmp_path, onednn=False), "without oneDNN", record_property)


@pytest.mark.slow
def test_every_handler_is_swept_or_has_a_reason() -> None:
    handlers = {f"{h.domain}::{h.op_type}" if h.domain else h.op_type for h in builtin().registered()}
    swept = {case.operator for case in all_cases().values()}
    assert handlers - swept == set(NOT_SWEPT)


def test_every_row_has_a_text_and_a_reason() -> None:
    assert all(row.part and row.reason for row in ROWS)
    assert len({(r.kind, r.operator, r.part) for r in ROWS}) == len(ROWS)


def assert_right_or_explained(outcomes: Sequence[Outcome], what: str, report: Report) -> None:
    """Check that every outcome is right, refused by all or listed, and report the counts."""
    cases = {outcome.case: find(outcome.case) for outcome in outcomes}
    kinds = Counter(outcome.kind for outcome in outcomes)
    operators = {cases[outcome.case].operator for outcome in outcomes}
    report(
        "zero sweep", f"{what}: {len(operators)} lowerings, {len(cases)} models, {len(outcomes)} feeds, {dict(kinds)}"
    )
    unexplained = [
        f"{o.kind}: {o.case} {_shapes(o)} {o.text} ({o.by})"
        for o in outcomes
        if o.kind not in ("right", "refused by all") and row_of(o.kind, cases[o.case].operator, o.text) is None
    ]
    assert not unexplained, "\n".join(unexplained)
    assert kinds["right"] > kinds["refused"]


def _shapes(outcome: Outcome) -> str:
    feeds = find(outcome.case).feeds
    return str({k: list(v.shape) for k, v in feeds[outcome.feed].items()}) if outcome.feed >= 0 else ""

"""Every lowering with every subset of its dynamic sizes at 0, with and without oneDNN, in processes that may crash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conformance.cases import share
from tests.zero_sweep.cases import all_cases, find
from tests.zero_sweep.known import explained
from tests.zero_sweep.sweep import Outcome, run

SAMPLE = ("gemm_relu", "scores", "conv_sum", "conv_depthwise", "transposed_blocks", "pad_reflect", "maxpool_ceil")
"""Cases of the fast suite: those in which TensorFlow's kernels are wrong or end the process."""

Report = Callable[[str, object], None]


def test_the_sample_has_no_wrong_answer_and_no_crash(tmp_path: Path, record_property: Report) -> None:
    assert_right_or_explained(run(SAMPLE, tmp_path, onednn=True), "sample", record_property)


@pytest.mark.slow
@pytest.mark.parametrize("onednn", [True, False], ids=["onednn", "without-onednn"])
@pytest.mark.parametrize("part", range(4))
def test_no_lowering_has_a_wrong_answer_or_a_crash(
    part: int, onednn: bool, tmp_path: Path, record_property: Report
) -> None:
    names = [name for name in all_cases() if share(name) % 4 == part]
    assert_right_or_explained(run(names, tmp_path, onednn=onednn), f"part {part}", record_property)


def assert_right_or_explained(outcomes: Sequence[Outcome], what: str, report: Report) -> None:
    """Check that every outcome is right, undefined or listed, and report the counts."""
    cases = {outcome.case: find(outcome.case) for outcome in outcomes}
    kinds = Counter(outcome.kind for outcome in outcomes)
    operators = {cases[outcome.case].operator for outcome in outcomes}
    report("zero sweep", f"{what}: {len(operators)} lowerings, {len(outcomes)} feeds, {dict(kinds)}")
    unexplained = [
        f"{o.kind}: {o.case} {_shapes(o)} {o.text} ({o.by})"
        for o in outcomes
        if o.kind not in ("right", "undefined") and not explained(o.kind, cases[o.case].operator, o.text)
    ]
    assert not unexplained, "\n".join(unexplained)
    assert kinds["right"] > kinds["refused"]


def _shapes(outcome: Outcome) -> str:
    feeds = find(outcome.case).feeds
    return str({k: list(v.shape) for k, v in feeds[outcome.feed].items()}) if outcome.feed >= 0 else ""

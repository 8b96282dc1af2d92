"""Builds the model.tflite of an architecture, and compares its answers with PyTorch's, as the embedded server gives them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bundler.tflite.fast_path import FastPath, build_fast_path
from bundler.validation import parity
from tests.zoo import check
from tests.zoo.entry import Entry

SIZES = {"batch-1", "example", "batch-5"}
"""Calls of one, two and five rows."""


def assert_answers(entry: Entry, work: Path) -> FastPath:
    """Assert that the file answers as PyTorch does, with 1, 2 and 5 rows and at two sizes of every other dynamic dim.

    Only serving_default is built: a model.tflite has one signature. The worker runs the calls in the embedded server's
    `TfliteServable`, one after the other in one interpreter, which each call resizes.
    """
    converted = check.convert(replace(entry, signatures={}), entry.make(), work)
    (reference,) = parity.run_references(converted.exported)
    assert {case.name for case in reference.cases} >= SIZES, reference.left_out
    check.assert_sizes(reference)
    converted.model.save(work / "1")
    fast = build_fast_path(converted.model, reference, work / "1", work / "1" / "model.tflite", work / "fast-path")
    for row in fast.rows:
        assert row.difference.within(check.TOLERANCE), row.explain()
    return fast

"""Builds the model.tflite of an architecture, and compares its answers with PyTorch's, as the embedded server gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bundler.tflite.fast_path import FastPath, build_fast_path
from bundler.validation import parity
from bundler.values.comparison import differences
from bundler.values.reference import ReferenceOutputs
from tests.zoo import check
from tests.zoo.entry import Entry

CALLS = {"batch-1", "example", "batch-5"}
"""Calls of one, two and five rows."""


@dataclass(frozen=True)
class Built:
    """The model.tflite of an architecture.

    Attributes:
        folder: folder of the model, with the version 1.
        reference: PyTorch's answers; the inputs are in the order that is served.
        file: the file, with the comparison of its answers.
    """

    folder: Path
    reference: ReferenceOutputs
    file: FastPath

    def assert_agrees(self) -> None:
        """Assert that the servable answers as PyTorch does; one interpreter is resized for each call."""
        for row in self.file.rows:
            assert row.difference.within(check.TOLERANCE), row.explain()

    def assert_served(self, predict: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        """Assert that a server answers as PyTorch does."""
        for case in self.reference.cases:
            for difference in differences(case.outputs, predict(case.inputs)):
                assert difference.within(check.TOLERANCE), f"{case.name}: {difference.explain()}"


def build(entry: Entry, work: Path) -> Built:
    """Build the file of serving_default alone: a model.tflite has one signature. It is run by the build's own worker."""
    converted = check.convert(replace(entry, signatures={}), entry.make(), work)
    (reference,) = parity.run_references(converted.exported)
    assert {case.name for case in reference.cases} >= CALLS, reference.left_out
    check.assert_sizes(reference)
    version = work / entry.name / "1"
    converted.model.save(version)
    file = build_fast_path(converted.model, reference, version, version / "model.tflite", work / "fast-path")
    return Built(version.parent, reference, file)

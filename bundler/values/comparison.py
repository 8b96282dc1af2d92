"""The comparison of one runtime's outputs with the reference outputs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bundler.errors import ParityError
from bundler.values.arrays import Array
from serving.golden.compare import Difference, compare

ONNX_RUNTIME = "onnxruntime"
SAVED_MODEL = "saved_model"
FAST_PATH = "tflite-fast-path"
"""Name of a runtime: the model.tflite beside a SavedModel."""


@dataclass(frozen=True)
class Row:
    """The comparison of one output of one call.

    Attributes:
        runtime: `onnxruntime`, `saved_model` or `tflite-<variant>`.
        gated: whether the difference must be within the tolerance.
        tolerance: the row's own tolerance, in place of the report's.
    """

    signature: str
    draw: str
    runtime: str
    difference: Difference
    gated: bool = True
    tolerance: float | None = None

    def within(self, tolerance: float) -> bool:
        """Return whether the difference is within the row's own tolerance, or else within that of the report."""
        return self.difference.within(tolerance if self.tolerance is None else self.tolerance)

    def to_json(self, tolerance: float) -> dict[str, Any]:
        """Return plain data for bundle.json."""
        place = {"signature": self.signature, "draw": self.draw, "runtime": self.runtime, "gated": self.gated}
        return {**place, "passed": self.within(tolerance), **self.difference.to_json()}

    def explain(self) -> str:
        """Describe the row and its difference in one line."""
        return f"{self.runtime}, {self.signature}, draw {self.draw}: {self.difference.explain()}"


def differences(want: Mapping[str, Array], got: Mapping[str, Any]) -> list[Difference]:
    """Compare the outputs in `got` with those in `want`, in the order of `want`; an output of only one side is a problem."""
    return [_difference(name, want, got) for name in (*want, *(name for name in got if name not in want))]


def _difference(name: str, want: Mapping[str, Array], got: Mapping[str, Any]) -> Difference:
    if name not in got:
        return _problem(name, f"not among the outputs {sorted(got)}")
    if name not in want:
        return _problem(name, "the PyTorch model has no such output")
    if not isinstance(got[name], np.ndarray | np.generic):
        return _problem(name, f"expected a tensor, got a {type(got[name]).__name__}")
    return compare(name, np.asarray(want[name]), np.asarray(got[name]))


def _problem(output: str, problem: str) -> Difference:
    return Difference(output, math.inf, math.inf, problem)


def failed_rows(
    signature: str, draw: str, runtime: str, outputs: Mapping[str, Array], exc: ParityError
) -> Iterator[Row]:
    """Yield a row for each output of a call that failed with `exc`."""
    for name in outputs:
        yield Row(signature, draw, runtime, _problem(name, exc.what))


def compared_rows(
    signature: str, draw: str, runtime: str, want: Mapping[str, Array], got: Mapping[str, Array]
) -> Iterator[Row]:
    """Yield a row for each output of a call."""
    for difference in differences(want, got):
        yield Row(signature, draw, runtime, difference)

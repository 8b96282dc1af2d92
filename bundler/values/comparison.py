"""Compare one runtime's outputs with the reference outputs."""

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
"""The model.tflite beside a SavedModel."""


@dataclass(frozen=True)
class Row:
    """One output of one call.

    Attributes:
        runtime: `onnxruntime`, `saved_model` or `tflite-<variant>`.
        gated: whether it has to keep the tolerance.
    """

    signature: str
    draw: str
    runtime: str
    difference: Difference
    gated: bool = True

    def to_json(self, tolerance: float) -> dict[str, Any]:
        place = {"signature": self.signature, "draw": self.draw, "runtime": self.runtime, "gated": self.gated}
        return {**place, "passed": self.difference.within(tolerance), **self.difference.to_json()}

    def explain(self) -> str:
        return f"{self.runtime}, {self.signature}, draw {self.draw}: {self.difference.explain()}"


def differences(want: Mapping[str, Array], got: Mapping[str, Any]) -> list[Difference]:
    """Every output of either side, in the order of `want`; one that only one side has is a problem."""
    out = []
    for name in (*want, *(n for n in got if n not in want)):
        if name not in got:
            out.append(_problem(name, f"not among the outputs {sorted(got)}"))
        elif name not in want:
            out.append(_problem(name, "the PyTorch model has no such output"))
        elif not isinstance(got[name], np.ndarray | np.generic):
            out.append(_problem(name, f"expected a tensor, got a {type(got[name]).__name__}"))
        else:
            out.append(compare(name, np.asarray(want[name]), np.asarray(got[name])))
    return out


def _problem(output: str, problem: str) -> Difference:
    return Difference(output, math.inf, math.inf, problem)


def failed_rows(
    signature: str, draw: str, runtime: str, outputs: Mapping[str, Array], exc: ParityError
) -> Iterator[Row]:
    for name in outputs:
        yield Row(signature, draw, runtime, _problem(name, exc.what))


def compared_rows(
    signature: str, draw: str, runtime: str, want: Mapping[str, Array], got: Mapping[str, Array]
) -> Iterator[Row]:
    for difference in differences(want, got):
        yield Row(signature, draw, runtime, difference)

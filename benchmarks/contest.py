"""Contenders with one model take turns: what the latency benchmarks of SavedModels and of TFLite files share.

Every contender holds the model in a process of its own. In each round each has its turn: two calls to get warm, then a few
that count. A ratio is the median, over the rounds, of ours divided by the peer's of the same round. All processes are started
anew a few times, as now and then one runs much slower for all its life.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.common import BenchmarkError, interleave
from benchmarks.contender import Array, Contender

ONNX_RUNTIME = "ONNX Runtime"
THREADS = 2
WARM, CALLS = 2, 5
TOLERANCE = 1e-3
"""Largest difference between the float32 answers of two contenders, relative to the largest value."""

Artifacts = Mapping[str, tuple[str, Path]]
"""By contender: its kind (see benchmarks.contender) and its file or folder."""


@contextmanager
def contenders(artifacts: Artifacts, inputs: Path) -> Iterator[dict[str, Contender]]:
    """A process for each, warm and waiting."""
    running: dict[str, Contender] = {}
    try:
        for name, (kind, path) in artifacts.items():
            running[name] = Contender(kind, path, inputs, THREADS)
        yield running
    finally:
        for contender in running.values():
            contender.close()


def measure(running: Mapping[str, Contender], rounds: int, batch: int = 1) -> dict[str, list[float]]:
    """The median milliseconds of each turn, by contender."""

    def turn(contender: Contender) -> float:
        contender.measure(WARM, batch)
        return statistics.median(contender.measure(CALLS, batch))

    return interleave({name: partial(turn, contender) for name, contender in running.items()}, rounds)


def check(model: str, name: str, reference: Mapping[str, Array], answer: Mapping[str, Array]) -> None:
    """A fast wrong answer is no figure. Names and layouts are the contender's own.

    Raises:
        BenchmarkError: an output of ONNX Runtime's is not among its answers.
    """
    for output, want in reference.items():
        errors = [_relative(want, got) for got in answer.values() if got.size == want.size]
        if not min(errors, default=math.inf) <= TOLERANCE:
            raise BenchmarkError(f"{model}: no answer of {name} is {output} of {ONNX_RUNTIME}: {errors}")


def _relative(want: Array, got: Array) -> float:
    if got.shape != want.shape:  # channels last
        got = np.moveaxis(got, -1, 1) if got.ndim == want.ndim else got.reshape(want.shape)
    return float(np.abs(want - got).max() / np.abs(want).max()) if got.shape == want.shape else math.inf

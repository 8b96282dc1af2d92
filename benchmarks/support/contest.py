"""Lets contenders with the same model take turns, for the latency benchmarks of SavedModels and of TFLite files.

Every contender has the model in a separate process. In each round each has one turn: two calls to warm up, then a few that are
measured. A ratio is the median over the rounds of our figure divided by the peer's of the same round. All processes are started
again a few times, since sometimes a process runs much slower for its whole life.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.support.common import BenchmarkError, arguments, interleave
from benchmarks.support.contender import Array, Contender
from benchmarks.support.models import NAMES

ONNX_RUNTIME = "ONNX Runtime"
THREADS = 2
WARM, CALLS = 2, 5
TOLERANCE = 1e-3
"""The largest accepted difference between the float32 answers of two contenders, relative to the largest value."""

Artifacts = Mapping[str, tuple[str, Path]]
"""Contender -> its kind (see benchmarks.support.contender) and its file or folder."""


SMALLEST = "unet"
"""The model of --one-row."""


def contest_arguments(description: str | None, *, rounds: int, launches: int) -> argparse.ArgumentParser:
    """Return a parser with the options of a contest, with these defaults; `parse` reads them."""
    parser = arguments(description)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"default: {' '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=rounds, help="turns of each process at batch 1")
    parser.add_argument("--launches", type=int, default=launches, help="processes of each contender, one after the other")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line; with --one-row, the smallest model takes one turn."""
    args = parser.parse_args()
    args.models = args.models or list(NAMES)
    if args.one_row:
        args.models, args.rounds, args.launches = [SMALLEST], 1, 1
    return args


@contextmanager
def contenders(artifacts: Artifacts, inputs: Path, threads: int = THREADS, workers: int = 1) -> Iterator[dict[str, Contender]]:
    """Start a process for each contender, and end them all afterwards."""
    running: dict[str, Contender] = {}
    try:
        for name, (kind, path) in artifacts.items():
            running[name] = Contender(kind, path, inputs, threads, workers)
        yield running
    finally:
        for contender in running.values():
            contender.close()


def measure(running: Mapping[str, Contender], rounds: int, batch: int = 1) -> dict[str, list[float]]:
    """Return the median milliseconds of each turn, by contender."""

    def turn(contender: Contender) -> float:
        contender.measure(WARM, batch)
        return statistics.median(contender.measure(CALLS, batch))

    return interleave({name: partial(turn, contender) for name, contender in running.items()}, rounds)


def take_turns(running: Mapping[str, Contender], rounds: int, figures: Mapping[int, dict[str, list[float]]]) -> None:
    """Add the milliseconds of all turns at each batch of `figures`, by contender; above batch 1 with half the rounds."""
    for batch, known in figures.items():
        for name, values in measure(running, rounds if batch == 1 else -(-rounds // 2), batch).items():
            known.setdefault(name, []).extend(values)


def check(model: str, name: str, reference: Mapping[str, Array], answer: Mapping[str, Array]) -> None:
    """Raise if a contender does not answer as ONNX Runtime does, since the time of a wrong answer means nothing.

    Args:
        model: the name of the model, for the message.
        name: the name of the contender, for the message.
        reference: the outputs of ONNX Runtime.
        answer: the outputs of the contender, whose names and layouts may differ.

    Raises:
        BenchmarkError: an output of ONNX Runtime is not among the contender's.
    """
    for output, expected in reference.items():
        errors = [_relative_error(expected, actual) for actual in answer.values() if actual.size == expected.size]
        if not min(errors, default=math.inf) <= TOLERANCE:
            raise BenchmarkError(f"{model}: no output of {name} equals {output} of {ONNX_RUNTIME}; relative errors: {errors}")


def sqnr_db(reference: Mapping[str, Array], answer: Mapping[str, Array]) -> float:
    """Return the signal-to-noise ratio of the worst output; the names and layouts of the answer's outputs may differ.

    Raises:
        BenchmarkError: an output is missing or not finite.
    """
    ratios = []
    for output, expected in reference.items():
        known = [actual for array in answer.values() if (actual := _fitted(expected, array)) is not None]
        noise = min((float(np.square(expected.astype(np.float64) - actual).sum()) for actual in known), default=math.nan)
        if not math.isfinite(noise):
            raise BenchmarkError(f"output {output} is missing or not finite in the lower precision")
        ratios.append(10 * math.log10(float(np.square(expected.astype(np.float64)).sum()) / max(noise, 1e-30)))
    return min(ratios)


def _relative_error(expected: Array, actual: Array) -> float:
    fitted = _fitted(expected, actual)
    return math.inf if fitted is None else float(np.abs(expected - fitted).max() / np.abs(expected).max())


def _fitted(expected: Array, actual: Array) -> Array | None:
    """Return the array in the shape of the expected one, from channels last if need be, or None if it has another size."""
    if actual.size == expected.size and actual.shape != expected.shape:
        actual = np.moveaxis(actual, -1, 1) if actual.ndim == expected.ndim else actual.reshape(expected.shape)
    return actual if actual.shape == expected.shape else None

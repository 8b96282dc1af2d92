"""Latency of the SavedModels of several converters, and of ONNX Runtime: batch 1, two threads, in one run.

Every contender holds one model in a process of its own. In each round each has its turn: two calls to get warm,
then a few that count. A ratio is the median, over the rounds, of ours divided by the peer's of the same round.
All processes are started anew a few times, as now and then one runs much slower for all its life.
Limits: no slower than onnx2tf, and under 0.7 of onnx-tf, on every model that the peer can convert. onnx2tf's
models take channels-last images, so our own of that layout stands beside them, like for like.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import peers
from benchmarks.common import BenchmarkError, Report, Verdict, arguments, interleave, ratio, run, status_of
from benchmarks.contender import Array, Contender
from benchmarks.models import NAMES

OURS, OURS_NHWC = "tfbundle", "tfbundle nhwc"
ONNX_TF, ONNX2TF, ONNX_RUNTIME = "onnx-tf", "onnx2tf", "ONNX Runtime"
CONTENDERS = (OURS, OURS_NHWC, ONNX_TF, ONNX2TF, ONNX_RUNTIME)
LIMITS = ((OURS, ONNX_TF, 0.7, False), (OURS, ONNX2TF, 1.0, True), (OURS_NHWC, ONNX2TF, 1.0, True))
"""Ours, the peer, the limit of their ratio, and whether the limit itself is allowed."""
THREADS = 2
WARM, CALLS = 2, 5
TOLERANCE = 1e-3
"""Largest difference between the answers of two contenders, relative to the largest value."""


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"default: {' '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=12, help="turns of each process")
    parser.add_argument("--launches", type=int, default=3, help="processes of each contender, one after the other")
    args = parser.parse_args()
    report = Report(
        "SavedModel latency, median ms (batch 1, 2 threads)",
        ["model", *CONTENDERS, *(f"{ours} / {peer}" for ours, peer, _, _ in LIMITS)],
    )
    for model in args.models or NAMES:
        figures: dict[str, list[float]] = {}
        with tempfile.TemporaryDirectory() as folder:
            artifacts = collect(model, Path(folder), report)
            for _ in range(args.launches):
                with contenders(model, artifacts) as running:
                    for name, values in measure(model, running, args.rounds).items():
                        figures.setdefault(name, []).extend(values)
        fill(model, figures, report)
    return report.finish(args.json)


def collect(model: str, folder: Path, report: Report) -> dict[str, Path]:
    """The artifacts of all that can take part; who cannot is told in the report's notes."""
    graph = peers.onnx_file(model)
    artifacts = {OURS: build(graph, folder, "keep"), OURS_NHWC: build(graph, folder, "nhwc")}
    for name, make in ((ONNX_TF, peers.onnx_tf_saved_model), (ONNX2TF, peers.onnx2tf_saved_model)):
        try:
            artifacts[name] = make(model)
        except BenchmarkError as exc:
            report.notes.append(f"{model}: no {name}: {exc}")
    return {**artifacts, ONNX_RUNTIME: graph}


@contextmanager
def contenders(model: str, artifacts: Mapping[str, Path]) -> Iterator[dict[str, Contender]]:
    """A process for each, warm and waiting."""
    inputs = peers.onnx_file(model).with_suffix(".npz")
    running: dict[str, Contender] = {}
    try:
        for name, path in artifacts.items():
            kind = "onnxruntime" if name == ONNX_RUNTIME else "saved_model"
            running[name] = Contender(kind, path, inputs, THREADS)
        yield running
    finally:
        for contender in running.values():
            contender.close()


def build(graph: Path, folder: Path, layout: str) -> Path:
    """Our SavedModel of the same ONNX file that the others get."""
    script = (
        "import sys, pathlib, bundler; source, folder, layout = sys.argv[1:]; "
        "bundler.convert(source, layout=layout).save(pathlib.Path(folder))"
    )
    run([sys.executable, "-c", script, str(graph), str(folder / layout), layout])
    return folder / layout


def measure(model: str, running: Mapping[str, Contender], rounds: int) -> dict[str, list[float]]:
    """The median milliseconds of each turn, by contender."""
    for name, contender in running.items():
        check(model, name, running[ONNX_RUNTIME], contender)

    def turn(contender: Contender) -> float:
        contender.measure(WARM)
        return statistics.median(contender.measure(CALLS))

    return interleave({name: partial(turn, contender) for name, contender in running.items()}, rounds)


def fill(model: str, figures: dict[str, list[float]], report: Report) -> None:
    """A row of the table and its verdicts."""
    report.data[model] = figures
    row = [model, *(f"{statistics.median(figures[n]):.2f}" if n in figures else "–" for n in CONTENDERS)]
    for ours, peer, limit, inclusive in LIMITS:
        row.append("–")
        if peer in figures:
            value = round(ratio(figures, ours, peer), 2)
            row[-1] = f"{value:.2f}"
            report.verdicts.append(Verdict(f"{model}: {ours} / {peer}", value, limit, "", inclusive))
    report.rows.append(row)


def check(model: str, name: str, reference: Contender, contender: Contender) -> None:
    """A fast wrong answer is no figure.

    Raises:
        BenchmarkError: it differs from ONNX Runtime's.
    """
    (want,), (got,) = reference.answer.values(), contender.answer.values()
    if got.shape != want.shape:  # onnx2tf also changes the output to channels-last
        got = np.moveaxis(got, -1, 1)
    error = _relative(want, got)
    if not error <= TOLERANCE:
        raise BenchmarkError(f"{model}: the answer of {name} is off by {error:.2g} of the largest value")


def _relative(want: Array, got: Array) -> float:
    return float(np.abs(want - got).max() / np.abs(want).max())


if __name__ == "__main__":
    sys.exit(status_of(main))

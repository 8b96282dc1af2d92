"""Latency of the SavedModels of several converters, and of ONNX Runtime: batch 1, two threads, in one run.

Every contender holds one model in a process of its own. In each round each has its turn: two calls to get warm,
then a few that count. A ratio is the median, over the rounds, of ours divided by the peer's of the same round.
Limits: no slower than onnx2tf, and under 0.7 of onnx-tf, on every model that the peer can convert.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks import peers
from benchmarks.common import BenchmarkError, Report, Verdict, arguments, interleave, ratio, run, status_of
from benchmarks.contender import Array, Contender
from benchmarks.models import NAMES

OURS, ONNX_TF, ONNX2TF, ONNX_RUNTIME = "tfbundle", "onnx-tf", "onnx2tf", "ONNX Runtime"
THREADS = 2
WARM, CALLS = 2, 5
TOLERANCE = 1e-3
"""Largest difference between the answers of two contenders, relative to the largest value."""


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"default: {' '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    report = Report(
        "SavedModel latency, median ms (batch 1, 2 threads)",
        ["model", OURS, ONNX_TF, ONNX2TF, ONNX_RUNTIME, f"{OURS} / {ONNX_TF}", f"{OURS} / {ONNX2TF}"],
    )
    for model in args.models or NAMES:
        with tempfile.TemporaryDirectory() as folder, contenders(model, Path(folder), report) as running:
            measure(model, running, args.rounds, report)
    return report.finish(args.json)


@contextmanager
def contenders(model: str, folder: Path, report: Report) -> Iterator[dict[str, Contender]]:
    """All that can take part, ready; who cannot is told in the report's notes."""
    graph = peers.onnx_file(model)
    makers: dict[str, tuple[str, Callable[[], Path]]] = {
        OURS: ("saved_model", lambda: build(model, graph, folder)),
        ONNX_TF: ("saved_model", lambda: peers.onnx_tf_saved_model(model)),
        ONNX2TF: ("saved_model", lambda: peers.onnx2tf_saved_model(model)),
        ONNX_RUNTIME: ("onnxruntime", lambda: graph),
    }
    running: dict[str, Contender] = {}
    try:
        for name, (kind, make) in makers.items():
            try:
                running[name] = Contender(kind, make(), graph.with_suffix(".npz"), THREADS)
            except BenchmarkError as exc:
                if name == OURS:
                    raise
                report.notes.append(f"{model}: no {name}: {exc}")
        yield running
    finally:
        for contender in running.values():
            contender.close()


def build(model: str, graph: Path, folder: Path) -> Path:
    """Our SavedModel of the same ONNX file that the others get."""
    script = "import sys, pathlib, bundler; bundler.convert(sys.argv[1]).save(pathlib.Path(sys.argv[2]))"
    path = folder / model
    run([sys.executable, "-c", script, str(graph), str(path)])
    return path


def measure(model: str, running: dict[str, Contender], rounds: int, report: Report) -> None:
    for name, contender in running.items():
        check(model, name, running[ONNX_RUNTIME], contender)

    def turn(contender: Contender) -> float:
        contender.measure(WARM)
        return statistics.median(contender.measure(CALLS))

    figures = interleave({name: lambda c=c: turn(c) for name, c in running.items()}, rounds)  # type: ignore[misc]
    report.data[model] = figures
    row = [model]
    row += [f"{statistics.median(figures[n]):.2f}" if n in figures else "–" for n in report.columns[1:5]]
    for peer, limit, inclusive in ((ONNX_TF, 0.7, False), (ONNX2TF, 1.0, True)):
        row.append("–")
        if peer in figures:
            value = round(ratio(figures, OURS, peer), 2)
            row[-1] = f"{value:.2f}"
            report.verdicts.append(Verdict(f"{model}: {OURS} / {peer}", value, limit, "", inclusive))
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

"""ONNX to SavedModel by tfbundle, onnx-tf and onnx2tf, and ONNX Runtime beside them: eight models, in one run.

For each: latency at batch 1 and 8 with two threads, seconds and peak memory of the conversion as a whole process (torch's
export is not counted), and how often the graph moves data from one order of axes to another. How contenders take turns stands
in benchmarks.contest. onnx2tf's models take channels-last images, so ours of that layout stands beside it, like for like.

Limits: at batch 1 at most 0.95 of the better of onnx-tf and onnx2tf on every model and 0.8 in the geometric mean; 0.5 of onnx-tf
and 2.0 of ONNX Runtime in the geometric mean; 6 s for a conversion.

    python -m benchmarks.converters [MODEL…] [--fresh] [--plot FILE.svg]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks import converters_plot, peers
from benchmarks.common import ROOT, BenchmarkError, Report, Verdict, arguments, geometric_mean, run, status_of
from benchmarks.contender import Contender
from benchmarks.contest import ONNX_RUNTIME, check, contenders, measure
from benchmarks.models import NAMES
from benchmarks.results import BATCHES, CONTENDERS, CONVERTERS, ONNX2TF, ONNX_TF, OURS, OURS_NHWC, Results
from bundler.saved_model.summarize import summarize

OF_BETTER, OF_BETTER_MEAN, OF_ONNX_TF_MEAN, OF_ONNX_RUNTIME_MEAN = 0.95, 0.8, 0.5, 2.0
CONVERSION_SECONDS = 6.0
CONVERSIONS = 3


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"default: {' '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each process at batch 1, half of it at batch 8")
    parser.add_argument("--launches", type=int, default=2, help="processes of each contender, one after the other")
    parser.add_argument("--fresh", action="store_true", help="let the peers convert again, so that their cost is of this run")
    parser.add_argument("--plot", type=Path, default=ROOT / "build" / "converters.svg", metavar="FILE.svg")
    args = parser.parse_args()
    report = Report("Converters, SavedModel latency in ms (2 threads) and cost of the conversion", columns())
    results: dict[str, Results] = {}
    for model in args.models or NAMES:
        results[model] = one_model(model, args.rounds, args.launches, args.fresh, report)
        report.rows.append(row(model, results[model]))
        print(f"{model}: {' | '.join(report.rows[-1][1:])}", file=sys.stderr, flush=True)
    judge(results, report)
    args.plot.parent.mkdir(parents=True, exist_ok=True)
    converters_plot.draw(results, args.plot)
    report.notes.append(f"plot: {args.plot}")
    return report.finish(args.json)


def one_model(model: str, rounds: int, launches: int, fresh: bool, report: Report) -> Results:
    """Convert the model with all, and let them take turns."""
    results = Results()
    with tempfile.TemporaryDirectory() as folder:
        artifacts = {ONNX_RUNTIME: ("onnxruntime", peers.source(model))}
        artifacts[OURS] = ("saved_model", ours(model, Path(folder), results))
        artifacts |= others(model, fresh, results, report)
        if ONNX2TF in artifacts:
            artifacts[OURS_NHWC] = ("saved_model", converted(model, Path(folder, "nhwc"), "nhwc")[0])
        results.transposes = {
            name: summarize(path).transposes for name, (kind, path) in artifacts.items() if kind == "saved_model"
        }
        for _ in range(launches):
            with contenders(artifacts, peers.source(model, "npz")) as running:
                take_turns(model, running, rounds, results)
    report.data[model] = {
        "ms": results.ms, "seconds": results.seconds, "peak_mb": results.peak_mb, "transposes": results.transposes,
    }  # fmt: skip
    return results


def ours(model: str, folder: Path, results: Results) -> Path:
    """Our SavedModel of the file that ONNX Runtime gets; converted a few times for the cost."""
    costs = [converted(model, folder / str(n), "keep") for n in range(CONVERSIONS)]
    results.seconds[OURS] = statistics.median(seconds for _, seconds, _ in costs)
    results.peak_mb[OURS] = max(peak for _, _, peak in costs)
    return costs[0][0]


def converted(model: str, folder: Path, layout: str) -> tuple[Path, float, float]:
    """The SavedModel, the seconds of the process, and its peak memory in MiB; TensorFlow comes as to our command line."""
    script = (
        "import sys, pathlib; from bundler.cli.quiet_import import import_quietly; import_quietly('tensorflow'); "
        "import bundler; source, folder, layout = sys.argv[1:]; "
        "bundler.convert(source, layout=layout).save(pathlib.Path(folder))"
    )
    cost = run([sys.executable, "-c", script, str(peers.source(model)), str(folder), layout])
    return folder, cost.seconds, cost.peak_mb


def others(model: str, fresh: bool, results: Results, report: Report) -> dict[str, tuple[str, Path]]:
    """The SavedModels of those that can convert the model; who cannot is told in the report's notes."""
    artifacts = {}
    if fresh:
        peers.forget(model)
    for name, make in ((ONNX_TF, peers.onnx_tf_saved_model), (ONNX2TF, peers.onnx2tf_saved_model)):
        try:
            made = make(model)
        except BenchmarkError as exc:
            report.notes.append(f"{model}: no {name}: {peers.reason(str(exc))}")
            continue
        artifacts[name] = ("saved_model", made.path)
        results.seconds[name], results.peak_mb[name] = made.seconds, made.peak_mb
    return artifacts


def take_turns(model: str, running: Mapping[str, Contender], rounds: int, results: Results) -> None:
    for name, contender in running.items():
        check(model, name, running[ONNX_RUNTIME].answer, contender.answer)
    for batch in BATCHES:
        able = {name: contender for name, contender in running.items() if takes(contender, batch)}
        for name, values in measure(able, rounds if batch == 1 else -(-rounds // 2), batch).items():
            results.ms[batch].setdefault(name, []).extend(values)


def takes(contender: Contender, batch: int) -> bool:
    """False for a model whose batch the converter had to fix."""
    try:
        contender.measure(1, batch)
    except BenchmarkError:
        return False
    return True


def columns() -> list[str]:
    latency = [f"{name}, batch {batch}" for batch in BATCHES for name in CONTENDERS]
    ratios = ["/ better of both", f"/ {ONNX_TF}", f"/ {ONNX_RUNTIME}"]
    of_each = [f"{what}: {', '.join(CONVERTERS)}" for what in ("conversion s", "peak MB", "transposes")]
    return ["model", *latency, *ratios, *of_each]


def row(model: str, results: Results) -> list[str]:
    latency = [_text(results.median(name, batch), ".2f") for batch in BATCHES for name in CONTENDERS]
    ratios = [_text(value, ".2f") for value in (results.of_better(), results.ratio(ONNX_TF), results.ratio(ONNX_RUNTIME))]
    figures: list[tuple[Mapping[str, float], str]] = [
        (results.seconds, ".1f"), (results.peak_mb, ".0f"), (results.transposes, "d"),
    ]  # fmt: skip
    return [
        model, *latency, *ratios,
        *(" / ".join(_text(values.get(name), form) for name in CONVERTERS) for values, form in figures),
    ]  # fmt: skip


def _text(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def judge(results: Mapping[str, Results], report: Report) -> None:
    """The verdicts."""

    def verdict(name: str, value: float, limit: float, unit: str = "") -> None:
        report.verdicts.append(Verdict(name, round(value, 2), limit, unit, inclusive=True))

    better = {model: value for model, result in results.items() if (value := result.of_better()) is not None}
    for model, value in better.items():
        verdict(f"{model}: {OURS} / better of {ONNX_TF} and {ONNX2TF}", value, OF_BETTER)
    means = [(f"better of {ONNX_TF} and {ONNX2TF}", list(better.values()), OF_BETTER_MEAN)]
    for peer, limit in ((ONNX_TF, OF_ONNX_TF_MEAN), (ONNX_RUNTIME, OF_ONNX_RUNTIME_MEAN)):
        means.append((peer, [value for result in results.values() if (value := result.ratio(peer)) is not None], limit))
    for peer, values, limit in means:
        if values:
            verdict(f"geometric mean of {len(values)}: {OURS} / {peer}", geometric_mean(values), limit)
    for model, result in results.items():
        verdict(f"{model}: conversion", result.seconds[OURS], CONVERSION_SECONDS, " s")


if __name__ == "__main__":
    sys.exit(status_of(main))

"""How fast are our SavedModels and their conversion, compared with other converters?

Measured: for eight models, latency at batch 1 and 8 with two threads, seconds and peak memory of the whole conversion process
(without torch's export), and the number of transposes in the graph.
Peers: onnx-tf, onnx2tf and ONNX Runtime, in the same run (benchmarks.support.contest says how they take turns). The models of
onnx2tf take channels-last images, so ours in that layout are measured too.
Limits: at batch 1, at most 0.95 of the better of onnx-tf and onnx2tf on every model and 0.8 in the geometric mean; 0.5 of onnx-tf
and 2.0 of ONNX Runtime in the geometric mean; 6 s for a conversion.

    python -m benchmarks.converters [MODEL…] [--fresh] [--plot FILE.svg]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.support import peers, plot
from benchmarks.support.common import ROOT, BenchmarkError, Report, Verdict, geometric_mean, run, status_of
from benchmarks.support.contender import Contender
from benchmarks.support.contest import ONNX_RUNTIME, check, contenders, contest_arguments, measure, parse
from benchmarks.support.environments import installed, reason
from benchmarks.support.results import BATCHES, CONTENDERS, CONVERTERS, ONNX2TF, ONNX_TF, OURS, OURS_NHWC, Results
from bundler.saved_model.summarize import summarize

OF_BETTER, OF_BETTER_MEAN, OF_ONNX_TF_MEAN, OF_ONNX_RUNTIME_MEAN = 0.95, 0.8, 0.5, 2.0
CONVERSION_SECONDS = 6.0
CONVERSIONS = 3


def main() -> int:
    parser = contest_arguments(__doc__, rounds=10, launches=2)
    parser.add_argument("--fresh", action="store_true", help="let the peers convert again, to measure their cost in this run")
    parser.add_argument("--plot", type=Path, default=ROOT / "build" / "converters.svg", metavar="FILE.svg")
    args = parse(parser)
    if args.one_row:
        args.plot = args.plot.with_stem(f"{args.plot.stem}-one-row")
    report = Report("Converters, SavedModel latency in ms (2 threads) and cost of the conversion", columns())
    results: dict[str, Results] = {}
    for model in args.models:
        results[model] = measure_model(model, args, report)
        report.rows.append(row(model, results[model]))
        print(f"{model}: {' | '.join(report.rows[-1][1:])}", file=sys.stderr, flush=True)
    judge(results, report)
    args.plot.parent.mkdir(parents=True, exist_ok=True)
    latency = {model: {name: result.median(name) for name in CONTENDERS} for model, result in results.items()}
    plot.draw_converters(latency, {model: dict(result.seconds) for model, result in results.items()}, args.plot)
    report.notes.append(f"plot: {args.plot}")
    return report.finish(args)


def measure_model(model: str, args: argparse.Namespace, report: Report) -> Results:
    """Convert the model with all converters, and let the contenders take turns."""
    results = Results()
    with tempfile.TemporaryDirectory() as folder:
        artifacts = {ONNX_RUNTIME: ("onnxruntime", peers.export(model))}
        artifacts[OURS] = ("saved_model", convert_ours(model, Path(folder), 1 if args.one_row else CONVERSIONS, results))
        artifacts |= convert_peers(model, args, results, report)
        if ONNX2TF in artifacts:
            artifacts[OURS_NHWC] = ("saved_model", convert(model, Path(folder, "nhwc"), "nhwc")[0])
        results.transposes = {
            name: summarize(path).transposes for name, (kind, path) in artifacts.items() if kind == "saved_model"
        }
        for _ in range(args.launches):
            with contenders(artifacts, peers.export(model, "npz")) as running:
                take_turns(model, running, args.rounds, results)
    report.data[model] = {
        "ms": results.ms, "seconds": results.seconds, "peak_mb": results.peak_mb, "transposes": results.transposes,
    }  # fmt: skip
    return results


def convert_ours(model: str, folder: Path, times: int, results: Results) -> Path:
    """Convert the file that ONNX Runtime gets, a few times to measure the cost. Return our SavedModel."""
    costs = [convert(model, folder / str(n), "keep") for n in range(times)]
    results.seconds[OURS] = statistics.median(seconds for _, seconds, _ in costs)
    results.peak_mb[OURS] = max(peak for _, _, peak in costs)
    return costs[0][0]


def convert(model: str, folder: Path, layout: str) -> tuple[Path, float, float]:
    """Convert in a process that imports TensorFlow as our command line does.

    Returns:
        The SavedModel, the seconds of the process, and its peak memory in MiB.
    """
    command = [sys.executable, "-m", "benchmarks.support.convert_process", str(peers.export(model)), str(folder), layout]
    cost = run(command)
    return folder, cost.seconds, cost.peak_mb


def convert_peers(model: str, args: argparse.Namespace, results: Results, report: Report) -> dict[str, tuple[str, Path]]:
    """Return the SavedModels of the peers that can convert the model; the report's notes name the others."""
    artifacts = {}
    if args.fresh:
        peers.forget(model)
    for name, make in ((ONNX_TF, peers.onnx_tf_saved_model), (ONNX2TF, peers.onnx2tf_saved_model)):
        if args.one_row and not installed(name):
            report.notes.append(f"skipped {name}, which is not installed")
            continue
        try:
            conversion = make(model)
        except BenchmarkError as exc:
            report.notes.append(f"{model}: no {name}: {reason(str(exc))}")
            continue
        artifacts[name] = ("saved_model", conversion.path)
        results.seconds[name], results.peak_mb[name] = conversion.seconds, conversion.peak_mb
    return artifacts


def take_turns(model: str, running: Mapping[str, Contender], rounds: int, results: Results) -> None:
    for name, contender in running.items():
        check(model, name, running[ONNX_RUNTIME].answer, contender.answer)
    for batch in BATCHES:
        capable = {name: contender for name, contender in running.items() if accepts(contender, batch)}
        for name, values in measure(capable, rounds if batch == 1 else -(-rounds // 2), batch).items():
            results.ms[batch].setdefault(name, []).extend(values)


def accepts(contender: Contender, batch: int) -> bool:
    """Return False for a model whose batch size the converter fixed to another number."""
    try:
        contender.measure(1, batch)
    except BenchmarkError:
        return False
    return True


def columns() -> list[str]:
    latency = [f"{name}, batch {batch}" for batch in BATCHES for name in CONTENDERS]
    ratios = ["/ better of both", f"/ {ONNX_TF}", f"/ {ONNX_RUNTIME}"]
    costs = [f"{what}: {', '.join(CONVERTERS)}" for what in ("conversion s", "peak MB", "transposes")]
    return ["model", *latency, *ratios, *costs]


def row(model: str, results: Results) -> list[str]:
    latency = [_text(results.median(name, batch), ".2f") for batch in BATCHES for name in CONTENDERS]
    ratios = (results.ratio_to_better(), results.ratio(ONNX_TF), results.ratio(ONNX_RUNTIME))
    figures: list[tuple[Mapping[str, float], str]] = [
        (results.seconds, ".1f"), (results.peak_mb, ".0f"), (results.transposes, "d"),
    ]  # fmt: skip
    return [
        model, *latency, *(_text(value, ".2f") for value in ratios),
        *(" / ".join(_text(values.get(name), form) for name in CONVERTERS) for values, form in figures),
    ]  # fmt: skip


def _text(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def judge(results: Mapping[str, Results], report: Report) -> None:
    """Add the verdicts to the report."""

    def verdict(name: str, value: float, limit: float, unit: str = "") -> None:
        report.verdicts.append(Verdict(name, round(value, 2), limit, unit, inclusive=True))

    better = {model: value for model, result in results.items() if (value := result.ratio_to_better()) is not None}
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

"""How fast are our TFLite files, compared with those of other converters?

Measured: for eight models, latency at batch 1 with two threads, and the seconds to make each of our variants. int8 is calibrated
with the single example, since only its speed is measured.
Peers: the float32 files of litert-torch and onnx2tf, and ONNX Runtime, all made from the same PyTorch model, in the same run
(benchmarks.support.contest says how they take turns).
Limits: float32 at most 1.05 of litert-torch on every model and 1.0 in the geometric mean, 1.2 of ONNX Runtime in the geometric
mean; int8 of ResNet-18 at most half the time of float32, and 3.8 times smaller.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.support import peers
from benchmarks.support.common import BenchmarkError, Report, Verdict, geometric_mean, ratio, run, status_of
from benchmarks.support.contest import ONNX_RUNTIME, check, contenders, contest_arguments, measure, parse
from benchmarks.support.environments import installed, reason

OURS, INT8 = "tfbundle", "tfbundle int8"
LITERT_TORCH, ONNX2TF = "litert-torch", "onnx2tf"
CONTENDERS = (OURS, LITERT_TORCH, ONNX2TF, ONNX_RUNTIME, INT8)
VARIANTS = ("float32", "float16", "dynamic", "int8")
OF_LITERT_TORCH, OF_LITERT_TORCH_MEAN, OF_ONNX_RUNTIME_MEAN = 1.05, 1.0, 1.2
INT8_MODEL, INT8_TIME, INT8_SIZE = "resnet18", 1 / 2, 1 / 3.8


def main() -> int:
    args = parse(contest_arguments(__doc__, rounds=12, launches=3))
    report = Report(
        "TFLite latency, median ms (batch 1, 2 threads), and seconds to make our files",
        ["model", *CONTENDERS, f"/ {LITERT_TORCH}", f"/ {ONNX_RUNTIME}", "XNNPACK", "lowering s", *(f"{v} s" for v in VARIANTS)],
    )
    ratios: dict[str, dict[str, float]] = {LITERT_TORCH: {}, ONNX_RUNTIME: {}}
    for model in args.models:
        figures: dict[str, list[float]] = {}
        with tempfile.TemporaryDirectory() as folder:
            built = build(model, Path(folder))
            artifacts = collect(model, Path(folder), args.one_row, report)
            for _ in range(args.launches):
                with contenders(artifacts, peers.export(model, "npz")) as running:
                    for name in running.keys() - {INT8}:
                        check(model, name, running[ONNX_RUNTIME].answer, running[name].answer)
                    for name, values in measure(running, args.rounds).items():
                        figures.setdefault(name, []).extend(values)
        fill(model, figures, built, report)
        for peer, known in ratios.items():
            if peer in figures:
                known[model] = ratio(figures, OURS, peer)
    judge(ratios, report)
    return report.finish(args)


def build(model: str, folder: Path) -> dict[str, Any]:
    """Write our files to `folder`, and return the figures of benchmarks.support.tflite_process."""
    process = [sys.executable, "-m", "benchmarks.support.tflite_process"]
    command = [*process, str(peers.export(model)), str(peers.export(model, "npz")), str(folder), *VARIANTS]
    cost = run(command, env={"TF_CPP_MIN_LOG_LEVEL": "3"})
    built: dict[str, Any] = json.loads(cost.output.splitlines()[-1])
    if "error" in built["float32"]:
        raise BenchmarkError(f"{model}: {built['float32']['error']}")
    return built


def collect(model: str, folder: Path, only_installed: bool, report: Report) -> dict[str, tuple[str, Path]]:
    """Return the kind and file of all contenders that can convert the model; the report's notes name the others."""
    artifacts = {OURS: ("tflite", folder / "float32.tflite")}
    for name, make in ((LITERT_TORCH, peers.litert_torch_file), (ONNX2TF, peers.onnx2tf_file)):
        if only_installed and not installed(name):
            report.notes.append(f"skipped {name}, which is not installed")
            continue
        try:
            artifacts[name] = ("tflite", make(model))
        except BenchmarkError as exc:
            report.notes.append(f"{model}: no {name}: {reason(str(exc))}")
    if (folder / "int8.tflite").exists():
        artifacts[INT8] = ("tflite", folder / "int8.tflite")
    return {**artifacts, ONNX_RUNTIME: ("onnxruntime", peers.export(model))}


def fill(model: str, figures: dict[str, list[float]], built: Mapping[str, Any], report: Report) -> None:
    """Add a row to the table, and the verdicts on this model."""
    report.data[model] = {"ms": figures, "built": built}
    times = [f"{statistics.median(figures[n]):.2f}" if n in figures else "–" for n in CONTENDERS]
    ratios = [f"{ratio(figures, OURS, peer):.2f}" if peer in figures else "–" for peer in (LITERT_TORCH, ONNX_RUNTIME)]
    share = f"{built['float32']['delegation']['share']:.0%}"
    seconds = [f"{built[v]['seconds']:.1f}" if "seconds" in built[v] else "fails" for v in VARIANTS]
    report.rows.append([model, *times, *ratios, share, f"{built['lowering']:.1f}", *seconds])
    report.notes += [f"{model}: no {v}: {built[v]['error']}" for v in VARIANTS if "error" in built[v]]
    if LITERT_TORCH in figures:
        value = round(ratio(figures, OURS, LITERT_TORCH), 2)
        report.verdicts.append(Verdict(f"{model}: {OURS} / {LITERT_TORCH}", value, OF_LITERT_TORCH, "", True))
    if model == INT8_MODEL and INT8 in figures:
        size = built["int8"]["bytes"] / built["float32"]["bytes"]
        report.verdicts += [
            Verdict(f"{model}: int8 / float32, time", round(ratio(figures, INT8, OURS), 3), INT8_TIME, "", True),
            Verdict(f"{model}: int8 / float32, size", round(size, 4), INT8_SIZE, "", True),
        ]


def judge(ratios: Mapping[str, Mapping[str, float]], report: Report) -> None:
    """Add the verdicts on the geometric means."""
    for peer, limit in ((LITERT_TORCH, OF_LITERT_TORCH_MEAN), (ONNX_RUNTIME, OF_ONNX_RUNTIME_MEAN)):
        if ratios[peer]:
            value = round(geometric_mean(list(ratios[peer].values())), 2)
            report.verdicts.append(Verdict(f"geometric mean: {OURS} / {peer}", value, limit, "", True))


if __name__ == "__main__":
    sys.exit(status_of(main))

"""How fast and how right are our TFLite files, compared with those of other converters?

Measured: for eight models, latency at batch 1 with one thread, the share that XNNPACK runs, the signal-to-quantization-noise
ratio (SQNR) of int8, the time to load a file, and the seconds to make each of our variants (benchmarks.support.tflite_process
says how).
Peers: the float32 files of litert-torch and onnx2tf, and ONNX Runtime, all made from the same PyTorch model, in the same run
(benchmarks.support.contest says how they take turns); for int8, what TensorFlow's converter makes of our graph.
Limits: float32 at most 1.05 of litert-torch on every model and 0.9 in the geometric mean, 1.2 of ONNX Runtime in the geometric
mean; int8 at most 0.55 of float32 in the geometric mean and 1 on every model, with at least 20 dB; files load in 2 ms; int8 of
ResNet-18 at most half the time of float32, and 3.8 times smaller.
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
from benchmarks.support.common import BenchmarkError, Report, Verdict, ratio, run, status_of
from benchmarks.support.contest import ONNX_RUNTIME, check, contenders, contest_arguments, measure, parse
from benchmarks.support.environments import installed, reason

OURS, INT8, PLAIN = "tfbundle", "tfbundle int8", "TensorFlow's int8"
LITERT_TORCH, ONNX2TF = "litert-torch", "onnx2tf"
FLOATS = (OURS, LITERT_TORCH, ONNX2TF, ONNX_RUNTIME)
QUANTIZED = {PLAIN: "plain", INT8: "int8"}
CONTENDERS = (*FLOATS, *QUANTIZED)
VARIANTS = ("float32", "float16", "dynamic", "plain", "int8-full", "int8")
THREADS = 1
OF_LITERT_TORCH, OF_LITERT_TORCH_MEAN, OF_ONNX_RUNTIME_MEAN = 1.05, 0.9, 1.2
INT8_OF_FLOAT32, INT8_OF_FLOAT32_MEAN, INT8_DB = 1.0, 0.55, 20.0
LOAD_MS = 2.0
INT8_MODEL, INT8_TIME, INT8_SIZE = "resnet18", 1 / 2, 1 / 3.8


def main() -> int:
    args = parse(contest_arguments(__doc__, rounds=12, launches=3))
    report = Report(
        "TFLite latency, median ms (batch 1, 1 thread), XNNPACK's nodes and partitions, SQNR, and seconds to make our files",
        [
            "model", *CONTENDERS, f"/ {LITERT_TORCH}", f"/ {ONNX_RUNTIME}", "int8 / float32", "nodes: float32, plain, int8",
            "dB: plain, int8", "load ms: float32, int8", "lowering s", *(f"{v} s" for v in VARIANTS),
        ],
    )  # fmt: skip
    ratios: dict[str, dict[str, float]] = {LITERT_TORCH: {}, ONNX_RUNTIME: {}, INT8: {}}
    for model in args.models:
        figures: dict[str, list[float]] = {}
        with tempfile.TemporaryDirectory() as folder:
            built = build(model, Path(folder))
            artifacts = collect(model, Path(folder), args.one_row, report)
            for _ in range(args.launches):
                with contenders(artifacts, peers.export(model, "npz"), THREADS) as running:
                    for name in running.keys() - QUANTIZED:
                        check(model, name, running[ONNX_RUNTIME].answer, running[name].answer)
                    for name, values in measure(running, args.rounds).items():
                        figures.setdefault(name, []).extend(values)
        fill(model, figures, built, report)
        for peer, known in ratios.items():
            if peer in figures:
                known[model] = ratio(figures, INT8, OURS) if peer == INT8 else ratio(figures, OURS, peer)
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
    files = {name: folder / f"{variant}.tflite" for name, variant in QUANTIZED.items()}
    artifacts.update({name: ("tflite", path) for name, path in files.items() if path.exists()})
    return {**artifacts, ONNX_RUNTIME: ("onnxruntime", peers.export(model))}


def fill(model: str, figures: dict[str, list[float]], built: Mapping[str, Any], report: Report) -> None:
    """Add a row to the table, and the verdicts on this model."""
    report.data[model] = {"ms": figures, "built": built}
    times = [f"{statistics.median(figures[n]):.2f}" if n in figures else "–" for n in CONTENDERS]
    ratios = [f"{ratio(figures, OURS, peer):.2f}" if peer in figures else "–" for peer in (LITERT_TORCH, ONNX_RUNTIME)]
    ratios.append(f"{ratio(figures, INT8, OURS):.2f}" if INT8 in figures else "–")
    made = {variant: record for variant, record in built.items() if variant in VARIANTS and "error" not in record}
    nodes = "; ".join(_nodes(made[v]["delegation"]) if v in made else "–" for v in ("float32", "plain", "int8"))
    noise = " / ".join(f"{made[v]['sqnr_db']:.1f}" if v in made else "–" for v in ("plain", "int8"))
    load = " / ".join(f"{made[v]['load_ms']:.1f}" if v in made else "–" for v in ("float32", "int8"))
    seconds = [f"{made[v]['seconds']:.1f}" if v in made else "fails" for v in VARIANTS]
    report.rows.append([model, *times, *ratios, nodes, noise, load, f"{built['lowering']:.1f}", *seconds])
    report.notes += [f"{model}: no {v}: {built[v]['error']}" for v in VARIANTS if v not in made]
    report.verdicts.append(Verdict(f"{model}: load", round(made["float32"]["load_ms"], 2), LOAD_MS, " ms"))
    if INT8 in figures:
        report.verdicts += [
            Verdict(f"{model}: int8 / float32", round(ratio(figures, INT8, OURS), 2), INT8_OF_FLOAT32, "", True),
            Verdict(f"{model}: noise of int8", -round(made["int8"]["sqnr_db"], 1), -INT8_DB, " dB", True),
        ]
    if LITERT_TORCH in figures:
        value = round(ratio(figures, OURS, LITERT_TORCH), 2)
        report.verdicts.append(Verdict(f"{model}: {OURS} / {LITERT_TORCH}", value, OF_LITERT_TORCH, "", True))
    if model == INT8_MODEL and INT8 in figures:
        size = built["int8"]["bytes"] / built["float32"]["bytes"]
        report.verdicts += [
            Verdict(f"{model}: int8 / float32, time", round(ratio(figures, INT8, OURS), 3), INT8_TIME, "", True),
            Verdict(f"{model}: int8 / float32, size", round(size, 4), INT8_SIZE, "", True),
        ]


def _nodes(delegation: Mapping[str, Any]) -> str:
    return f"{delegation['delegated']} of {delegation['nodes']} in {delegation['partitions']}"


def judge(ratios: Mapping[str, Mapping[str, float]], report: Report) -> None:
    """Add the verdicts on the geometric means."""
    means = {
        f"{OURS} / {LITERT_TORCH}": (ratios[LITERT_TORCH], OF_LITERT_TORCH_MEAN),
        f"{OURS} / {ONNX_RUNTIME}": (ratios[ONNX_RUNTIME], OF_ONNX_RUNTIME_MEAN),
        "int8 / float32": (ratios[INT8], INT8_OF_FLOAT32_MEAN),
    }
    for name, (known, limit) in means.items():
        if known:
            report.judge_mean(f"geometric mean: {name}", list(known.values()), limit)


if __name__ == "__main__":
    sys.exit(status_of(main))

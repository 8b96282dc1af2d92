"""Latency of TFLite files: ours, litert-torch's and onnx2tf's, and ONNX Runtime: batch 1, two threads, in one run.

All are made from the same PyTorch model; how they take turns stands in benchmarks.contest.
Limits: float32 no slower than 1.05 of litert-torch's on any model and 1.0 in the geometric mean, 1.2 of ONNX Runtime in the
geometric mean; ResNet-18 in int8 at most half the time of float32, and 3.8 times smaller. int8 here is calibrated with the one
example: its figure is its speed. The seconds that each of our variants takes to make stand beside.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.common import BenchmarkError, Report, Verdict, arguments, geometric_mean, ratio, run, status_of
from benchmarks.contest import ONNX_RUNTIME, check, contenders, measure
from benchmarks.models import NAMES

OURS, INT8 = "tfbundle", "tfbundle int8"
LITERT_TORCH, ONNX2TF = "litert-torch", "onnx2tf"
CONTENDERS = (OURS, LITERT_TORCH, ONNX2TF, ONNX_RUNTIME, INT8)
VARIANTS = ("float32", "float16", "dynamic", "int8")
OF_LITERT_TORCH, OF_LITERT_TORCH_MEAN, OF_ONNX_RUNTIME_MEAN = 1.05, 1.0, 1.2
INT8_MODEL, INT8_TIME, INT8_SIZE = "resnet18", 1 / 2, 1 / 3.8


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"default: {' '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=12, help="turns of each process")
    parser.add_argument("--launches", type=int, default=3, help="processes of each contender, one after the other")
    args = parser.parse_args()
    report = Report(
        "TFLite latency, median ms (batch 1, 2 threads), and seconds to make our files",
        ["model", *CONTENDERS, f"/ {LITERT_TORCH}", f"/ {ONNX_RUNTIME}", "XNNPACK", "lowering s", *(f"{v} s" for v in VARIANTS)],
    )
    ratios: dict[str, dict[str, float]] = {LITERT_TORCH: {}, ONNX_RUNTIME: {}}
    for model in args.models or NAMES:
        figures: dict[str, list[float]] = {}
        with tempfile.TemporaryDirectory() as folder:
            built = build(model, Path(folder))
            artifacts = collect(model, Path(folder), report)
            for _ in range(args.launches):
                with contenders(artifacts, peers.sources(model) / f"{model}.npz") as running:
                    for name in running.keys() - {INT8}:
                        check(model, name, running[ONNX_RUNTIME].answer, running[name].answer)
                    for name, values in measure(running, args.rounds).items():
                        figures.setdefault(name, []).extend(values)
        fill(model, figures, built, report)
        for peer, known in ratios.items():
            if peer in figures:
                known[model] = ratio(figures, OURS, peer)
    judge(ratios, report)
    return report.finish(args.json)


def build(model: str, folder: Path) -> dict[str, Any]:
    """Our files in `folder`, and what benchmarks.tflite_build tells of them."""
    sources = peers.sources(model)
    command = [sys.executable, "-m", "benchmarks.tflite_build", str(sources / f"{model}.onnx"), str(sources / f"{model}.npz")]
    cost = run([*command, str(folder), *VARIANTS], env={"TF_CPP_MIN_LOG_LEVEL": "3"})
    built: dict[str, Any] = json.loads(cost.output.splitlines()[-1])
    if "error" in built["float32"]:
        raise BenchmarkError(f"{model}: {built['float32']['error']}")
    return built


def collect(model: str, folder: Path, report: Report) -> dict[str, tuple[str, Path]]:
    """Kind and file of all that can take part; who cannot is told in the report's notes."""
    artifacts = {OURS: ("tflite", folder / "float32.tflite")}
    for name, make in ((LITERT_TORCH, peers.litert_torch_file), (ONNX2TF, peers.onnx2tf_file)):
        try:
            artifacts[name] = ("tflite", make(model))
        except BenchmarkError as exc:
            report.notes.append(f"{model}: no {name}: {peers.reason(str(exc))}")
    if (folder / "int8.tflite").exists():
        artifacts[INT8] = ("tflite", folder / "int8.tflite")
    return {**artifacts, ONNX_RUNTIME: ("onnxruntime", peers.sources(model) / f"{model}.onnx")}


def fill(model: str, figures: dict[str, list[float]], built: Mapping[str, Any], report: Report) -> None:
    """A row of the table, and the verdicts on the model alone."""
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
    """The verdicts on the geometric means."""
    for peer, limit in ((LITERT_TORCH, OF_LITERT_TORCH_MEAN), (ONNX_RUNTIME, OF_ONNX_RUNTIME_MEAN)):
        if ratios[peer]:
            value = round(geometric_mean(list(ratios[peer].values())), 2)
            report.verdicts.append(Verdict(f"geometric mean: {OURS} / {peer}", value, limit, "", True))


if __name__ == "__main__":
    sys.exit(status_of(main))

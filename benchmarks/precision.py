"""How much faster is a SavedModel in bfloat16, and how accurate?

Measured: for eight models, latency at batch 1 and 8 with two threads of our SavedModel in float32, of ours in bfloat16
(`--precision bfloat16`), and of the float32 one under TensorFlow's rewriting (`--mixed_precision=bfloat16`); their size; and the
signal-to-noise ratio (SQNR) of the worst output against float32.
Peers: the SavedModel in float32, and ONNX Runtime, in the same run (benchmarks.support.contest says how they take turns).
Limits, on a CPU with AVX-512 BF16 or AMX: in the geometric mean 0.85 of float32 at batch 1 and 0.75 at batch 8, no model above
1.1; ResNet-18 at batch 8 0.6; half the size; 25 dB. On other CPUs nothing is judged.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.support import peers
from benchmarks.support.common import Report, Verdict, geometric_mean, ratio, run, status_of
from benchmarks.support.contest import ONNX_RUNTIME, check, contenders, contest_arguments, parse, sqnr_db, take_turns
from benchmarks.support.results import BATCHES
from serving.cpu import bfloat16_instructions

FLOAT32, BFLOAT16, FLAG = "float32", "bfloat16", "flag"
CONTENDERS = (FLOAT32, BFLOAT16, FLAG, ONNX_RUNTIME)
MEAN, EACH, SIZE, SQNR_DB = {1: 0.85, 8: 0.75}, 1.1, 0.55, 25.0
RESNET18 = 0.6

Ratios = dict[int, dict[str, float]]


def main() -> int:
    args = parse(contest_arguments(__doc__, rounds=12, launches=2))
    latency = [f"{name}, batch {batch}" for batch in BATCHES for name in CONTENDERS]
    shares = [f"{name} / {FLOAT32}, batch {batch}" for batch in BATCHES for name in (BFLOAT16, FLAG)]
    columns = ["model", *latency, *shares, "MB, MB in float32", "SQNR dB", "SQNR dB of the flag"]
    report = Report(f"SavedModels in bfloat16, median ms (2 threads); {', '.join(bfloat16_instructions()) or 'no BF16'}", columns)
    ratios: Ratios = {batch: {} for batch in BATCHES}
    for model in args.models:
        measure_model(model, args.rounds, args.launches, ratios, report)
        print(f"{model}: {' | '.join(report.rows[-1][1:])}", file=sys.stderr, flush=True)
    judge(ratios, report)
    return report.finish(args)


def measure_model(model: str, rounds: int, launches: int, ratios: Ratios, report: Report) -> None:
    """Convert the model in both precisions, let the contenders take turns, and add a row to the report."""
    figures: dict[int, dict[str, list[float]]] = {batch: {} for batch in BATCHES}
    with tempfile.TemporaryDirectory() as folder:
        base, lower = (convert(model, Path(folder, precision), precision) for precision in (FLOAT32, BFLOAT16))
        artifacts = {
            FLOAT32: ("saved_model", base), BFLOAT16: ("saved_model", lower), FLAG: ("mixed_precision", base),
            ONNX_RUNTIME: ("onnxruntime", peers.export(model)),
        }  # fmt: skip
        sizes = [sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in (lower, base)]
        for _ in range(launches):
            with contenders(artifacts, peers.export(model, "npz")) as running:
                check(model, FLOAT32, running[ONNX_RUNTIME].answer, running[FLOAT32].answer)
                noise = {name: sqnr_db(running[FLOAT32].answer, running[name].answer) for name in (BFLOAT16, FLAG)}
                take_turns(running, rounds, figures)
    for batch in BATCHES:
        ratios[batch][model] = ratio(figures[batch], BFLOAT16, FLOAT32)
    report.data[model] = {"ms": figures, "bytes": sizes, "sqnr_db": noise}
    times = [f"{statistics.median(figures[batch][name]):.2f}" for batch in BATCHES for name in CONTENDERS]
    shares = [f"{ratio(figures[batch], name, FLOAT32):.2f}" for batch in BATCHES for name in (BFLOAT16, FLAG)]
    megabytes = " / ".join(f"{size / 1e6:.1f}" for size in sizes)
    report.rows.append([model, *times, *shares, megabytes, *(f"{ratio:.1f}" for ratio in noise.values())])
    if bfloat16_instructions():
        report.verdicts += [
            Verdict(f"{model}: size / {FLOAT32}", round(sizes[0] / sizes[1], 3), SIZE, "", True),
            Verdict(f"{model}: {SQNR_DB:g} dB / SQNR", round(SQNR_DB / noise[BFLOAT16], 3), 1.0, "", True),
        ]


def convert(model: str, folder: Path, precision: str) -> Path:
    """Write our SavedModel in a process of its own, and return its folder."""
    command = [sys.executable, "-m", "benchmarks.support.convert_process", str(peers.export(model)), str(folder), "keep"]
    run([*command, precision])
    return folder


def judge(ratios: Ratios, report: Report) -> None:
    """Add the verdicts on latency, if the CPU is made for bfloat16."""
    if not bfloat16_instructions():
        report.notes.append("this CPU has no instructions for bfloat16: latency is not judged")
        return
    for batch, known in ratios.items():
        for model, value in known.items():
            limit = RESNET18 if (model, batch) == ("resnet18", 8) else EACH
            report.verdicts.append(Verdict(f"{model}, batch {batch}: {BFLOAT16} / {FLOAT32}", round(value, 2), limit, "", True))
        mean = round(geometric_mean(list(known.values())), 2)
        report.verdicts.append(Verdict(f"geometric mean, batch {batch}: {BFLOAT16} / {FLOAT32}", mean, MEAN[batch], "", True))


if __name__ == "__main__":
    sys.exit(status_of(main))

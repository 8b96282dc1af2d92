"""How long does a build take, and how much memory?

Measured: a whole `tfbundle build` of ResNet-18, as one process with imports, loading, export, conversion, parity on several
draws, and rendering; without TFLite, and with float32, float16 and int8 files.
Peer: `torch.onnx.export` alone, timed inside a process that does nothing else. That whole process is in the table too. Both take
turns.
Limits: 8 s more than the export itself, with and without TFLite, and a peak memory of 3000 MB without.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.support.common import Cost, Report, Verdict, arguments, interleave, run, status_of, tfbundle

MODEL = "resnet18"
EXTRA_SECONDS = 8.0
MEMORY_LIMIT_MB = 3000.0
VARIANTS = ("--tflite", "float32,float16,int8", "--calibration", "random", "--allow-random-calibration")


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    report = Report(f"Build of {MODEL}", ["what", "median s", "processor s", "peak MB"])
    costs: dict[str, list[Cost]] = {"build": [], "variants": [], "export": []}
    with tempfile.TemporaryDirectory() as folder:

        def build(name: str, *options: str) -> float:
            target = Path(folder, f"{name}{len(costs[name])}")
            source = "benchmarks/support/models.py:" + MODEL
            inputs = ["--input", "x=float32[batch,3,224,224]"]
            costs[name].append(run(tfbundle("build", source, "-o", str(target), *inputs, *options)))
            return costs[name][-1].seconds

        def export() -> float:
            target = Path(folder, f"export{len(costs['export'])}.onnx")
            costs["export"].append(run([sys.executable, "-m", "benchmarks.support.export_process", MODEL, str(target)]))
            return float(costs["export"][-1].output)

        turns = {"build": partial(build, "build"), "variants": partial(build, "variants", *VARIANTS), "export": export}
        figures = interleave(turns, 1 if args.one_row else args.rounds)
    fill(report, costs, figures)
    return report.finish(args)


def fill(report: Report, costs: dict[str, list[Cost]], figures: dict[str, list[float]]) -> None:
    build, variants, export = (statistics.median(figures[name]) for name in ("build", "variants", "export"))
    process = statistics.median(cost.seconds for cost in costs["export"])
    cpu = {name: f"{statistics.median(cost.cpu_seconds for cost in rows):.1f}" for name, rows in costs.items()}
    peaks = {name: max(cost.peak_mb for cost in rows) for name, rows in costs.items()}
    report.rows += [
        ["`tfbundle build`, whole process", f"{build:.1f}", cpu["build"], f"{peaks['build']:.0f}"],
        ["the same with three TFLite files", f"{variants:.1f}", cpu["variants"], f"{peaks['variants']:.0f}"],
        ["`torch.onnx.export` alone", f"{export:.1f}", "–", "–"],
        ["a process that loads and exports", f"{process:.1f}", cpu["export"], f"{peaks['export']:.0f}"],
    ]
    report.data.update(figures, peak_mb=peaks, export_process=process)
    for name, what in (("build", "build"), ("variants", "build with TFLite")):
        extra = statistics.median(b - e for b, e in zip(figures[name], figures["export"], strict=True))
        report.verdicts.append(Verdict(f"{what}, in addition to torch's export", extra, EXTRA_SECONDS, " s", inclusive=True))
    report.verdicts += [
        Verdict("peak memory of the build", peaks["build"], MEMORY_LIMIT_MB, " MB"),
    ]


if __name__ == "__main__":
    sys.exit(status_of(main))

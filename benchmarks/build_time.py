"""How long does a build take, and how much memory?

Measured: a whole `tfbundle build` of ResNet-18 without TFLite, as one process with imports, loading, export, conversion, parity
on several draws, and rendering.
Peer: `torch.onnx.export` alone, timed inside a process that does nothing else. That whole process is in the table too. Both take
turns.
Limits: 8 s more than the export itself, and a peak memory of 3000 MB.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.support.common import Cost, Report, Verdict, arguments, interleave, run, status_of, tfbundle

MODEL = "resnet18"
EXTRA_SECONDS = 8.0
MEMORY_LIMIT_MB = 3000.0


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    report = Report(f"Build of {MODEL} without TFLite", ["what", "median s", "processor s", "peak MB"])
    costs: dict[str, list[Cost]] = {"build": [], "export": []}
    with tempfile.TemporaryDirectory() as folder:

        def build() -> float:
            target = Path(folder, f"build{len(costs['build'])}")
            source = "benchmarks/support/models.py:" + MODEL
            inputs = ["--input", "x=float32[batch,3,224,224]"]
            costs["build"].append(run(tfbundle("build", source, "-o", str(target), *inputs)))
            return costs["build"][-1].seconds

        def export() -> float:
            target = Path(folder, f"export{len(costs['export'])}.onnx")
            costs["export"].append(run([sys.executable, "-m", "benchmarks.support.export_process", MODEL, str(target)]))
            return float(costs["export"][-1].output)

        figures = interleave({"build": build, "export": export}, 1 if args.one_row else args.rounds)
    fill(report, costs, figures)
    return report.finish(args)


def fill(report: Report, costs: dict[str, list[Cost]], figures: dict[str, list[float]]) -> None:
    build, export = (statistics.median(figures[name]) for name in ("build", "export"))
    process = statistics.median(cost.seconds for cost in costs["export"])
    cpu = {name: f"{statistics.median(cost.cpu_seconds for cost in rows):.1f}" for name, rows in costs.items()}
    peaks = {name: max(cost.peak_mb for cost in rows) for name, rows in costs.items()}
    report.rows += [
        ["`tfbundle build`, whole process", f"{build:.1f}", cpu["build"], f"{peaks['build']:.0f}"],
        ["`torch.onnx.export` alone", f"{export:.1f}", "–", "–"],
        ["a process that loads and exports", f"{process:.1f}", cpu["export"], f"{peaks['export']:.0f}"],
    ]
    report.data.update(figures, peak_mb=peaks, export_process=process)
    extra = statistics.median(b - e for b, e in zip(figures["build"], figures["export"], strict=True))
    report.verdicts += [
        Verdict("build, in addition to torch's export", extra, EXTRA_SECONDS, " s", inclusive=True),
        Verdict("peak memory of the build", peaks["build"], MEMORY_LIMIT_MB, " MB"),
    ]


if __name__ == "__main__":
    sys.exit(status_of(main))

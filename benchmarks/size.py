"""How much memory does a large model take?

Measured: the peak memory of each process with its children, for a model with 2.5 GB of weights.

1. `bundler.convert(path).save(folder)` of an ONNX file of opset 17 with external weights.
2. The SavedModel, loaded in another process and compared with an answer that NumPy computes layer by layer.
3. The whole `tfbundle build` of a PyTorch module with the same layers.

Peer: the size of the weights.
Limits: 2.5 times the weights for each process; a relative error of 1e-4 for the answer.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.support import synthetic
from benchmarks.support.common import MEBIBYTE, Cost, Report, Verdict, arguments, run, status_of, tfbundle

WIDTH = 8192
LIMIT = 2.5
TOLERANCE = 1e-4


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--layers", type=int, default=10, help="Linear layers of 256 MiB each")
    args = parser.parse_args()
    layers = 1 if args.one_row else args.layers
    weights = layers * (WIDTH + 1) * WIDTH * 4 / MEBIBYTE
    report = Report(f"A model with {weights:.0f} MB of weights", ["what", "s", "processor s", "peak MB", "x the weights"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = synthetic.perceptron(folder, layers, WIDTH)
        add(report, "ONNX file to SavedModel", process("convert", source, folder / "saved"), weights)
        if args.one_row:
            return report.finish(args)
        comparison = process("compare", source, folder / "saved")
        add(report, "the SavedModel, loaded and compared", comparison, weights)
        error = float(comparison.output) * 1e6
        report.verdicts.append(Verdict("largest relative error, compared with NumPy", error, TOLERANCE * 1e6, "e-6"))
        for path in (source.with_name(f"{source.name}.data"), folder / "saved"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        add(report, "PyTorch module to bundle, `tfbundle build`", build(folder / "bundle", layers), weights)
    return report.finish(args)


def process(task: str, source: Path, saved: Path) -> Cost:
    return run([sys.executable, "-m", "benchmarks.support.size_process", task, str(source), str(saved)])


def build(bundle: Path, layers: int) -> Cost:
    """Build a bundle. The build itself compares the SavedModel with PyTorch, and fails if they differ."""
    inputs = ["--input", f"input=float32[batch,{WIDTH}]", "--name", "perceptron"]
    command = tfbundle("build", "benchmarks/support/large.py:perceptron", "-o", str(bundle), *inputs)
    return run(command, env={"TFBUNDLE_BENCH_LAYERS": str(layers), "TFBUNDLE_BENCH_WIDTH": str(WIDTH)})


def add(report: Report, what: str, cost: Cost, weights: float) -> None:
    factor = cost.peak_mb / weights
    report.rows.append([what, f"{cost.seconds:.0f}", f"{cost.cpu_seconds:.0f}", f"{cost.peak_mb:.0f}", f"{factor:.2f}"])
    report.data[what] = {"seconds": cost.seconds, "peak_mb": cost.peak_mb}
    report.verdicts.append(Verdict(f"peak memory, {what}", factor, LIMIT, "x", inclusive=True))


if __name__ == "__main__":
    sys.exit(status_of(main))

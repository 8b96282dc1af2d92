"""Memory that a model of 2.5 GB of weights takes, beside the size of its weights.

1. An ONNX file of opset 17 with its weights beside it, through `bundler.convert(path).save(folder)`.
2. The SavedModel, loaded again in another process, against a product computed layer by layer with NumPy.
3. A PyTorch module of the same layers through the whole `tfbundle build`.

Memory is that of the process and its children together. Limits: 2.5 times the weights for each of them, 1e-4 for the answers.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import synthetic
from benchmarks.common import MEBIBYTE, Cost, Report, Verdict, arguments, run, status_of, tfbundle

WIDTH = 8192
LIMIT = 2.5
TOLERANCE = 1e-4


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--layers", type=int, default=10, help="Linear layers of 256 MiB each")
    args = parser.parse_args()
    weights = args.layers * (WIDTH + 1) * WIDTH * 4 / MEBIBYTE
    report = Report(f"A model with {weights:.0f} MB of weights", ["what", "s", "processor s", "peak MB", "x the weights"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = synthetic.perceptron(folder, args.layers, WIDTH)
        add(report, "ONNX file to SavedModel", process("convert", source, folder / "saved"), weights)
        again = process("compare", source, folder / "saved")
        add(report, "the SavedModel, loaded and compared", again, weights)
        report.verdicts.append(Verdict("largest error beside NumPy, relative", float(again.output) * 1e6, TOLERANCE * 1e6, "e-6"))
        for path in (source.with_name(f"{source.name}.data"), folder / "saved"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        add(report, "PyTorch module to bundle, `tfbundle build`", build(folder / "bundle", args.layers), weights)
    return report.finish(args.json)


def process(task: str, source: Path, saved: Path) -> Cost:
    return run([sys.executable, "-m", "benchmarks.size_process", task, str(source), str(saved)])


def build(bundle: Path, layers: int) -> Cost:
    """The build compares its SavedModel with PyTorch itself, and fails where they differ."""
    inputs = ["--input", f"input=float32[batch,{WIDTH}]", "--name", "perceptron"]
    command = tfbundle("build", "benchmarks/large.py:perceptron", "-o", str(bundle), *inputs)
    return run(command, env={"TFBUNDLE_BENCH_LAYERS": str(layers), "TFBUNDLE_BENCH_WIDTH": str(WIDTH)})


def add(report: Report, what: str, cost: Cost, weights: float) -> None:
    factor = cost.peak_mb / weights
    report.rows.append([what, f"{cost.seconds:.0f}", f"{cost.cpu_seconds:.0f}", f"{cost.peak_mb:.0f}", f"{factor:.2f}"])
    report.data[what] = {"seconds": cost.seconds, "peak_mb": cost.peak_mb}
    report.verdicts.append(Verdict(f"peak memory, {what}", factor, LIMIT, "x", inclusive=True))


if __name__ == "__main__":
    sys.exit(status_of(main))

"""How long do a hundred models take, and how much memory?

Measured: a whole `tfbundle build` of small convolutional networks as ONNX files, which one pattern in bundle.yaml names: with
`--jobs 1` and `--jobs 2`, each with an empty cache; three times again from the cache (the median counts); and with `--jobs 2` a
quarter of the models. Each process starts anew, and the two numbers of jobs take turns.
Peer: one process.
Limits: with two jobs at most 1/1.7 of the time of one process (on two cores or more); 10 s from the cache; peak memory that grows
by no more than a fifth from a quarter of the models to all.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.support.common import Cost, Report, Verdict, arguments, interleave, ratio, run, status_of, tfbundle

MODELS = 100
SPEEDUP = 1.7
CACHED_SECONDS = 10.0
MEMORY_GROWTH = 1.2
CACHED_BUILDS = 3
LAYERS = 12
CHANNELS = 16


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--models", type=int, default=MODELS, help="number of models")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each number of jobs")
    args = parser.parse_args()
    args.models = 2 if args.one_row else args.models
    report = Report(f"{args.models} models in one bundle", ["what", "s", "processor s", "peak MB"])
    with tempfile.TemporaryDirectory(prefix="tfbundle-many-") as name:
        folder = Path(name)
        whole, quarter = write_models(folder / "whole", args.models), write_models(folder / "quarter", max(args.models // 4, 1))
        costs: dict[str, list[Cost]] = {}

        def build(what: str, file: Path, jobs: int, *, keeps: bool = False) -> float:
            if not keeps:
                shutil.rmtree(folder / "cache", ignore_errors=True)
            shutil.rmtree(folder / "out", ignore_errors=True)
            options = ("--jobs", str(jobs), "--cache", str(folder / "cache"), "-o", str(folder / "out"))
            costs.setdefault(what, []).append(run(tfbundle("build", str(file), *options)))
            return costs[what][-1].seconds

        turns = {f"--jobs {jobs}": partial(build, f"--jobs {jobs}", whole, jobs) for jobs in (1, 2)}
        figures = interleave(turns, 1 if args.one_row else args.rounds)
        for _ in range(1 if args.one_row else CACHED_BUILDS):
            build("from the cache", whole, 2, keeps=True)
        build("--jobs 2, a quarter of the models", quarter, 2)
    fill(report, costs, figures)
    return report.finish(args)


def fill(report: Report, costs: dict[str, list[Cost]], figures: dict[str, list[float]]) -> None:
    """Add the rows and the verdicts."""
    for what, rows in costs.items():
        seconds, cpu = (statistics.median(getattr(row, name) for row in rows) for name in ("seconds", "cpu_seconds"))
        report.rows.append([what, f"{seconds:.1f}", f"{cpu:.1f}", f"{max(row.peak_mb for row in rows):.0f}"])
    peaks = {what: max(row.peak_mb for row in rows) for what, rows in costs.items()}
    share = ratio(figures, "--jobs 2", "--jobs 1")
    cached = statistics.median(cost.seconds for cost in costs["from the cache"])
    report.notes.append(f"two jobs are {1 / share:.2f} times as fast as one process")
    report.verdicts += [
        Verdict("time with two jobs, of that of one process", share, 1 / SPEEDUP, "", inclusive=True),
        Verdict("again from the cache", cached, CACHED_SECONDS, " s"),
        Verdict(
            "peak memory of all models, of that of a quarter",
            peaks["--jobs 2"] / peaks["--jobs 2, a quarter of the models"],
            MEMORY_GROWTH,
            "",
        ),
    ]


def write_models(folder: Path, count: int) -> Path:
    """Write ONNX files, and a bundle.yaml whose one pattern names all of them."""
    (folder / "exports").mkdir(parents=True)
    for number in range(count):
        onnx.save(network(number), str(folder / "exports" / f"net{number:03}.onnx"))
    file = folder / "bundle.yaml"
    file.write_text("models:\n  - source: exports/*.onnx\n", "utf-8")
    return file


def network(seed: int) -> onnx.ModelProto:
    """Return a convolutional network `x` float32 [batch, 3, 32, 32] -> `y` float32 [batch, 10], with random weights."""
    draw = np.random.default_rng(seed)
    shapes = [(CHANNELS, 3 if layer == 0 else CHANNELS, 3, 3) for layer in range(LAYERS)]
    weights = {f"w{layer}": draw.normal(size=shape) / 12 for layer, shape in enumerate(shapes)}
    weights["head"] = draw.normal(size=(CHANNELS, 10)) / 4
    nodes, last = [], "x"
    for layer in range(LAYERS):
        nodes.append(helper.make_node("Conv", [last, f"w{layer}"], [f"c{layer}"], f"conv{layer}", pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"], f"relu{layer}"))
        joins = layer % 2 and layer > 1
        nodes += [helper.make_node("Add", [f"r{layer}", f"r{layer - 2}"], [f"a{layer}"], f"add{layer}")] if joins else []
        last = f"a{layer}" if joins else f"r{layer}"
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("MatMul", ["flat", "head"], ["y"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        f"net{seed}",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


if __name__ == "__main__":
    sys.exit(status_of(main))

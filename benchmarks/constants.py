"""Should the weights of a float32 SavedModel be constants of its graph instead of variables?

Measured: for eight models, latency at batch 1 and 8 with two threads, and the memory that a process takes for the model.
Peer: the same SavedModel with its weights frozen into constants; both take turns (benchmarks.support.contest).
Limit: with variables, as the engine writes them, at most 1.1 of the time in the geometric mean at each batch, and no more
memory on any model. If constants were faster, the engine would have to choose them by size.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.precision import convert
from benchmarks.support import peers
from benchmarks.support.common import Report, Verdict, ratio, run, status_of
from benchmarks.support.contest import check, contenders, contest_arguments, parse, take_turns
from benchmarks.support.results import BATCHES

VARIABLES, CONSTANTS = "variables", "constants"
MEAN = 1.1


def main() -> int:
    args = parse(contest_arguments(__doc__, rounds=10, launches=2))
    latency = [f"{name} ms, batch {batch}" for batch in BATCHES for name in (VARIABLES, CONSTANTS)]
    shares = [f"{VARIABLES} / {CONSTANTS}, batch {batch}" for batch in BATCHES]
    columns = ["model", *latency, *shares, "MB of weights", "MB in memory"]
    report = Report("Weights as variables and as constants, 2 threads", columns)
    ratios: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for model in args.models:
        figures: dict[int, dict[str, list[float]]] = {batch: {} for batch in BATCHES}
        with tempfile.TemporaryDirectory() as folder:
            variables, constants = convert(model, Path(folder, VARIABLES), "float32"), Path(folder, CONSTANTS)
            run([sys.executable, "-m", "benchmarks.support.freeze_process", str(variables), str(constants)])
            weights = sum(file.stat().st_size for file in (variables / "variables").iterdir()) / 1e6
            artifacts = {VARIABLES: ("saved_model", variables), CONSTANTS: ("saved_model", constants)}
            for _ in range(args.launches):
                with contenders(artifacts, peers.export(model, "npz")) as running:
                    check(model, CONSTANTS, running[VARIABLES].answer, running[CONSTANTS].answer)
                    take_turns(running, args.rounds, figures)
                    memory = {name: contender.memory_mb() for name, contender in running.items()}
        for batch in BATCHES:
            ratios[batch].append(ratio(figures[batch], VARIABLES, CONSTANTS))
        times = [f"{statistics.median(figures[b][name]):.2f}" for b in BATCHES for name in (VARIABLES, CONSTANTS)]
        parts = " / ".join(f"{value:.0f}" for value in memory.values())
        report.rows.append([model, *times, *(f"{ratios[batch][-1]:.2f}" for batch in BATCHES), f"{weights:.1f}", parts])
        report.data[model] = {"ms": figures, "memory_mb": memory}
        share = memory[VARIABLES] / memory[CONSTANTS]
        report.verdicts.append(Verdict(f"{model}: memory, {VARIABLES} / {CONSTANTS}", round(share, 2), 1.0, "", inclusive=True))
    for batch in BATCHES:
        report.judge_mean(f"batch {batch}: {VARIABLES} / {CONSTANTS}", ratios[batch], MEAN)
    return report.finish(args)


if __name__ == "__main__":
    sys.exit(status_of(main))

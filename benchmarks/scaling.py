"""Does the time of a conversion grow linearly with the number of nodes?

Measured: the processor seconds to normalise, lower and save graphs of 1,000, 3,000 and 10,000 nodes, the least of all rounds.
There are two kinds of graph: blocks of convolutions and linear layers with the shape arithmetic that exporters write, and a chain
of elementwise nodes with many constants. Every measurement is a separate process, which converts a small graph first.
Peer: the smallest graph.
Limit: a node of the largest graph takes at most 1.5 times as long as one of the smallest, in normalisation and in lowering.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from benchmarks.support.common import Report, Verdict, arguments, interleave, run, status_of

SIZES = (1_000, 3_000, 10_000)
KINDS = ("chain", "constants")
STAGES = ("normalize", "lower", "save")
LIMIT = 1.5


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    kinds, sizes = (KINDS[:1], SIZES[:1]) if args.one_row else (KINDS, SIZES)
    times: dict[str, list[dict[str, float]]] = {f"{kind} {size}": [] for kind in kinds for size in sizes}

    def measure(kind: str, size: int) -> float:
        cost = run([sys.executable, "-m", "benchmarks.support.scaling_process", kind, str(size)])
        times[f"{kind} {size}"].append(json.loads(cost.output.splitlines()[-1]))
        return cost.seconds

    turns = {f"{kind} {size}": (lambda k=kind, s=size: measure(k, s)) for kind in kinds for size in sizes}
    interleave(turns, 1 if args.one_row else args.rounds)
    report = Report("Time by the number of nodes", ["graph", "nodes", *(f"{stage} s" for stage in STAGES), "µs per node"])
    for kind in kinds:
        fill(report, kind, sizes, times)
    report.data["rounds"] = times
    return report.finish(args)


def fill(report: Report, kind: str, sizes: Sequence[int], times: dict[str, list[dict[str, float]]]) -> None:
    per_node: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for size in sizes:
        rounds = times[f"{kind} {size}"]
        nodes = rounds[0]["nodes"]
        least = {stage: min(r[stage] for r in rounds) for stage in STAGES}
        for stage in STAGES:
            per_node[stage].append(least[stage] / nodes * 1e6)
        each = " + ".join(f"{per_node[stage][-1]:.0f}" for stage in STAGES)
        report.rows.append([kind, f"{nodes:.0f}", *(f"{least[stage]:.2f}" for stage in STAGES), each])
    for stage in STAGES[:2]:
        growth = per_node[stage][-1] / per_node[stage][0]
        report.verdicts.append(Verdict(f"{kind}, {stage}: time per node, 10,000 nodes / 1,000", growth, LIMIT, "x", True))


if __name__ == "__main__":
    sys.exit(status_of(main))

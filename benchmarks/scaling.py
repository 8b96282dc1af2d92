"""Time that graphs of 1,000, 3,000 and 10,000 nodes take: to their normal form, lowered to TensorFlow, and saved.

Two kinds: blocks of convolutions and linear layers with the arithmetic over shapes that exporters write, and a chain of
elementwise nodes with a constant each. Every measurement is a process of its own, which converts a small graph first; the
figures are processor seconds, the least of all rounds. Limit: a node of the largest graph takes no more than 1.5 times what
one of the smallest takes, in normalisation and in lowering.
"""

from __future__ import annotations

import json
import sys

from benchmarks.common import Report, Verdict, arguments, interleave, run, status_of

SIZES = (1_000, 3_000, 10_000)
KINDS = ("chain", "constants")
STAGES = ("normalize", "lower", "save")
LIMIT = 1.5


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    seen: dict[str, list[dict[str, float]]] = {f"{kind} {size}": [] for kind in KINDS for size in SIZES}

    def measure(kind: str, size: int) -> float:
        cost = run([sys.executable, "-m", "benchmarks.scaling_process", kind, str(size)])
        seen[f"{kind} {size}"].append(json.loads(cost.output.splitlines()[-1]))
        return cost.seconds

    turns = {f"{kind} {size}": (lambda k=kind, s=size: measure(k, s)) for kind in KINDS for size in SIZES}
    interleave(turns, args.rounds)
    report = Report("Time by the number of nodes", ["graph", "nodes", *(f"{stage} s" for stage in STAGES), "µs a node"])
    for kind in KINDS:
        fill(report, kind, seen)
    report.data["rounds"] = seen
    return report.finish(args.json)


def fill(report: Report, kind: str, seen: dict[str, list[dict[str, float]]]) -> None:
    per_node: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for size in SIZES:
        rounds = seen[f"{kind} {size}"]
        nodes = rounds[0]["nodes"]
        least = {stage: min(r[stage] for r in rounds) for stage in STAGES}
        for stage in STAGES:
            per_node[stage].append(least[stage] / nodes * 1e6)
        each = " + ".join(f"{per_node[stage][-1]:.0f}" for stage in STAGES)
        report.rows.append([kind, f"{nodes:.0f}", *(f"{least[stage]:.2f}" for stage in STAGES), each])
    for stage in STAGES[:2]:
        growth = per_node[stage][-1] / per_node[stage][0]
        report.verdicts.append(Verdict(f"{kind}, {stage}: a node at 10,000 beside one at 1,000", growth, LIMIT, "x", True))


if __name__ == "__main__":
    sys.exit(status_of(main))

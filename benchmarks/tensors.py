"""How long does it take to read a large answer, and to write a large request, compared with copying their bytes?

Measured: milliseconds and peak memory for 20 million elements. Answers are PredictResponses as servers send them (`float_val`,
`tensor_content`, `int64_val` of small and of large numbers), read as the client and as the server read them; a request is
written as the client writes it. Memory counts the message's bytes and the array, as a multiple of the array's size.
Peer: `numpy.frombuffer(...).copy()` of the same bytes. All take turns.
Limits: floats take 0.3 s, 3 times the peer's time and 3 times the array's size.
"""

from __future__ import annotations

import json
import statistics
import sys

from benchmarks.support.common import Report, Verdict, arguments, interleave, ratio, run, status_of
from benchmarks.support.tensors_process import CASES, PEER

FLOATS = "client reads float_val"


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--elements", type=int, default=20_000_000)
    args = parser.parse_args()
    elements, rounds = (1_000_000, 1) if args.one_row else (args.elements, args.rounds)
    memory: dict[str, list[float]] = {name: [] for name in CASES}

    def turn(name: str) -> float:
        cost = run([sys.executable, "-m", "benchmarks.support.tensors_process", name, str(elements)])
        figures = json.loads(cost.output.splitlines()[-1])
        memory[name].append(figures["memory"])
        return float(figures["ms"])

    times = interleave({name: (lambda name=name: turn(name)) for name in CASES}, rounds)
    report = Report(f"Tensors of {elements:,} elements", ["what", "median ms", f"x {PEER}", "peak memory / array"])
    for name in CASES:
        figures = (statistics.median(times[name]), ratio(times, name, PEER), max(memory[name]))
        report.rows.append([name, *(f"{figure:.2f}" for figure in figures)])
    report.data.update(times=times, memory=memory)
    report.verdicts += [
        Verdict(FLOATS, statistics.median(times[FLOATS]) / 1e3, 0.3, " s"),
        Verdict(f"{FLOATS} / {PEER}", ratio(times, FLOATS, PEER), 3.0, "x"),
        Verdict(f"{FLOATS}: peak memory / array", max(memory[FLOATS]), 3.0, "x"),
    ]
    return report.finish(args)


if __name__ == "__main__":
    sys.exit(status_of(main))

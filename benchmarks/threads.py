"""How many more requests does a server answer if each runs on one core?

Measured: eight SavedModels in the embedded server with --tensorflow_intra_op_parallelism=1, the default of every generated
start (`serving.clients: many`), four clients at batch 1: requests per second. Also the latency of a lone client.
Peer: the same server without the flag (`serving.clients: few`), which splits every operator over all cores; both are loaded in
turns.
Limit: at least as many requests per second on every model (the printed ratio, without / with, is at most 1), and 1.2 times as
many in the geometric mean (0.83).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.support import peers
from benchmarks.support.common import Report, Verdict, load_arguments, run, status_of, tfbundle
from benchmarks.support.models import NAMES
from bundler.operations.bench import bench_request
from bundler.validation.bundle import Bundle
from serving.bench.load import Load, measure
from serving.launch.server_process import server_process

FLAG = "--tensorflow_intra_op_parallelism=1"
MANY, SMALLEST = 4, "mobilenetv3_small"
EACH, MEAN = 1.0, 1 / 1.2


def main() -> int:
    parser = load_arguments(__doc__, turns=3, seconds=3.0)
    parser.add_argument("models", nargs="*", metavar="MODEL", default=list(NAMES))
    args = parser.parse_args()
    if args.one_row:
        args.models, args.turns, args.seconds = [SMALLEST], 1, 0.5
    columns = ["model", "requests/s, all cores", "one core each", "with / without", "lone client ms, all cores", "one core"]
    report = Report(f"SavedModels over gRPC, {MANY} clients and one, batch 1", columns)
    ratios = []
    for model in args.models:
        with tempfile.TemporaryDirectory() as folder:
            ratios.append(compare(model, Path(folder) / "bundle", args.turns, args.seconds, report))
    report.judge_mean("geometric mean: requests/s, without / with", ratios, MEAN)
    return report.finish(args)


def compare(model: str, out: Path, turns: int, seconds: float, report: Report) -> float:
    """Add the row and the verdict of a model; return the requests per second without the flag, divided by those with it."""
    run(tfbundle("build", str(peers.export(model)), "--name", "m", "-o", str(out)))
    request = bench_request(Bundle.open(out))
    loads = [Load(MANY, seconds), Load(1, seconds)]
    with server_process(out) as plain, server_process(out, [FLAG]) as single:
        rounds = [measure([plain.grpc_target, single.grpc_target], request, loads) for _ in range(turns)]
    many = [statistics.median(figures[place].per_second for figures in rounds) for place in (0, 1)]
    lone = [statistics.median(figures[place].p50_ms for figures in rounds) for place in (2, 3)]
    ratio = statistics.median(figures[0].per_second / figures[1].per_second for figures in rounds)
    report.rows.append([model, *(f"{value:.0f}" for value in many), f"{1 / ratio:.2f}", *(f"{value:.2f}" for value in lone)])
    report.data[model] = [[load.to_json() for load in figures] for figures in rounds]
    report.verdicts.append(Verdict(f"{model}: requests/s, without / with", round(ratio, 2), EACH, "", inclusive=True))
    return ratio


if __name__ == "__main__":
    sys.exit(status_of(main))

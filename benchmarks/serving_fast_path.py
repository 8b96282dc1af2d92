"""How much faster does a server answer on the fast path?

Measured: the latency of MobileNetV3 over gRPC with one client and batch 1, on the fast path (model.tflite).
Peer: the SavedModel of the same bundle. Each has an embedded server in a separate process; they are loaded in turns
(`serving.bench.load`), several times.
Limit: the SavedModel takes at least 2.5 times as long (the printed ratio, fast path / SavedModel, is at most 0.40).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.support.common import ROOT, Report, Verdict, load_arguments, run, status_of, tfbundle
from bundler.operations.bench import bench_request
from bundler.validation.bundle import Bundle
from serving.bench.load import Load, LoadFigures, measure

MODEL = "mobilenetv3_small"
LIMIT = 1 / 2.5
_SERVER = """
import sys
from serving import Server
with Server(sys.argv[1], grpc_port=0, rest_port=None, prefer_tflite=sys.argv[2] == "fast") as server:
    print(server.grpc_port, flush=True)
    sys.stdin.read()
"""


def main() -> int:
    parser = load_arguments(__doc__, turns=5, seconds=3.0)
    args = parser.parse_args()
    if args.one_row:
        args.turns, args.seconds = 1, 0.5
    columns = ["server", "p50 ms", "p90 ms", "p99 ms", "requests/s"]
    report = Report(f"{MODEL} over gRPC, one client, batch 1", columns)
    with tempfile.TemporaryDirectory() as folder:
        bundle = build(Path(folder) / "bundle")
        with server(bundle.path, "fast") as fast, server(bundle.path, "saved_model") as saved:
            request = bench_request(bundle)
            turns = [measure([fast, saved], request, [Load(1, args.seconds)]) for _ in range(args.turns)]
    for name, figures in zip(("fast path", "SavedModel"), zip(*turns, strict=True), strict=True):
        report.rows.append([name, *row(figures)])
        report.data[name] = [turn.to_json() for turn in figures]
    ratio = statistics.median(fast_turn.p50_ms / saved_turn.p50_ms for fast_turn, saved_turn in turns)
    report.verdicts.append(Verdict("fast path / SavedModel, p50", ratio, LIMIT, "", inclusive=True))
    report.notes.append(f"the SavedModel takes {1 / ratio:.2f} times as long")
    return report.finish(args)


def build(out: Path) -> Bundle:
    """Build a bundle with both forms of the model."""
    run(tfbundle("build", f"{ROOT / 'benchmarks' / 'support' / 'models.py'}:{MODEL}", "--fast-path", "-o", str(out)))
    return Bundle.open(out)


@contextmanager
def server(bundle: Path, kind: str) -> Iterator[str]:
    """Start an embedded server in a separate process; yield its `host:port`."""
    command = [sys.executable, "-c", _SERVER, str(bundle), kind]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdin and process.stdout
        try:
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()
            process.wait(timeout=30)


def row(figures: tuple[LoadFigures, ...]) -> list[str]:
    """Return the medians over the turns."""
    names = ("p50_ms", "p90_ms", "p99_ms", "per_second")
    return [f"{statistics.median(getattr(turn, name) for turn in figures):.2f}" for name in names]


if __name__ == "__main__":
    sys.exit(status_of(main))

"""How long does a user wait for `tfbundle --help`, for `tfbundle build --help`, and for a bundle's smoke test?

Measured: whole processes, from start to exit. The smoke test runs against a running server: it waits until the server is ready,
calls every signature over gRPC and compares the answers.
Peer: a Python process that does nothing. All take turns.
Limits: 0.5 s for the help, 1 s for the smoke test.
"""

from __future__ import annotations

import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.support.common import ROOT, Cost, Report, Verdict, arguments, interleave, run, status_of, tfbundle
from serving.client.client import Client

HELP, BUILD_HELP, SMOKE = "tfbundle --help", "tfbundle build --help", "smoke/smoke_test.py"
LIMITS = {HELP: 0.5, BUILD_HELP: 0.5, SMOKE: 1.0}


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    report = Report("Start of the command line and of the smoke test", ["command", "median s", "slowest s", "processor s"])
    if args.one_row:
        measure({HELP: tfbundle("--help")}, 1, report)
        return report.finish(args)
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder, "digits")
        source = f"{ROOT / 'examples' / 'digits_cnn.py'}:digits_cnn"
        run(tfbundle("build", source, "-o", str(bundle), "--name", "digits"))
        with serving(bundle) as port:
            smoke = str(bundle / "smoke" / "smoke_test.py")
            commands = {
                "python -c pass": [sys.executable, "-c", "pass"],
                HELP: tfbundle("--help"),
                BUILD_HELP: tfbundle("build", "--help"),
                SMOKE: [sys.executable, smoke, f"127.0.0.1:{port}"],
            }
            measure(commands, args.rounds, report)
    for name, limit in LIMITS.items():
        report.verdicts.append(Verdict(name, statistics.median(report.data[name]), limit, " s"))
    return report.finish(args)


def measure(commands: dict[str, list[str]], rounds: int, report: Report) -> None:
    for command in commands.values():
        run(command)  # loads files into the page cache
    costs: dict[str, list[Cost]] = {name: [] for name in commands}

    def turn(name: str) -> float:
        costs[name].append(run(commands[name]))
        return costs[name][-1].seconds

    figures = interleave({name: partial(turn, name) for name in commands}, rounds)
    report.data.update(figures)
    for name, seconds in figures.items():
        cpu = statistics.median(cost.cpu_seconds for cost in costs[name])
        figure = [statistics.median(seconds), max(seconds), cpu]
        report.rows.append([f"`{name}`", *(f"{value:.3f}" for value in figure)])


@contextmanager
def serving(bundle: Path) -> Iterator[int]:
    """Run `tfbundle serve` on free ports until it is ready; yield its gRPC port."""
    grpc, rest = free_ports(2)
    command = tfbundle("serve", str(bundle), f"--port={grpc}", f"--rest_api_port={rest}")
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with Client(f"127.0.0.1:{grpc}") as client:
            client.wait_until_ready("digits", timeout=120)
        yield grpc
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)


def free_ports(count: int) -> Sequence[int]:
    """Return ports that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    for listener in sockets:
        listener.bind(("127.0.0.1", 0))
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


if __name__ == "__main__":
    sys.exit(status_of(main))

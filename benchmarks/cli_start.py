"""How long a person waits: `tfbundle --help`, `tfbundle build --help`, and the bundle's own smoke test against a running server.

Whole processes, from start to exit, taking turns with a Python that does nothing. Limits: 0.5 s for the help,
1 s for the smoke test (which starts, waits for readiness, asks for everything over gRPC and compares).
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

from benchmarks.common import ROOT, Cost, Report, Verdict, arguments, interleave, run, status_of, tfbundle
from serving.client.client import Client

HELP_LIMIT, SMOKE_LIMIT = 0.5, 1.0


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    report = Report("Start of the command line and of the smoke test", ["command", "median s", "slowest s", "processor s"])
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder, "digits")
        source = f"{ROOT / 'examples' / 'digits_cnn.py'}:digits_cnn"
        run(tfbundle("build", source, "-o", str(bundle), "--name", "digits"))
        with serving(bundle) as port:
            smoke = str(bundle / "smoke" / "smoke_test.py")
            commands = {
                "python -c pass": [sys.executable, "-c", "pass"],
                "tfbundle --help": tfbundle("--help"),
                "tfbundle build --help": tfbundle("build", "--help"),
                "smoke/smoke_test.py": [sys.executable, smoke, f"127.0.0.1:{port}"],
            }
            measure(commands, args.rounds, report)
    return report.finish(args.json)


def measure(commands: dict[str, list[str]], rounds: int, report: Report) -> None:
    for command in commands.values():
        run(command)  # files into the page cache
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
    limits = {"tfbundle --help": HELP_LIMIT, "tfbundle build --help": HELP_LIMIT, "smoke/smoke_test.py": SMOKE_LIMIT}
    for name, limit in limits.items():
        report.verdicts.append(Verdict(name, statistics.median(figures[name]), limit, " s"))


@contextmanager
def serving(bundle: Path) -> Iterator[int]:
    """`tfbundle serve` on free ports, ready; gives the gRPC port."""
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
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


if __name__ == "__main__":
    sys.exit(status_of(main))

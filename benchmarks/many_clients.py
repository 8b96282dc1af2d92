"""What do 64 callers in one program get from an AsyncClient, compared with 64 threads, and what memory does that take?

Measured: requests with 4 floats to the embedded server in another process, over gRPC and over REST, in a closed loop. Each turn
is a process of its own; both kinds of client take turns. The memory is what the 64 callers add to the process: its largest
resident size minus that after the calls of one caller. On a busy machine, 64 threads get more of the processor than one event
loop: compare the processor time per request, too.
Peer: `serving.Client` in 64 threads, each thread with a client of its own.
Limits over gRPC: at least 0.9 times the threads' requests per second (median of the rounds), in less than a quarter of their
memory.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.serving import save_double
from benchmarks.support.common import MEBIBYTE, Report, Verdict, arguments, interleave, ratio, run, status_of
from serving import AsyncClient, Client
from serving.launch.server_process import ServerEndpoints, server_process

CALLERS = 64
LEAST_RATE = 0.9
MOST_MEMORY = 0.25
X = np.array([[1, 2, 3, 4]], np.float32)
THREADS, TASKS = "threads", "tasks"
WARM_UP = 20
"""Calls of one caller before the memory of the others is measured."""
_SAMPLE_SECONDS = 0.02


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=60, help="calls of each caller per round")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "TARGET"), help="take one turn and print its figures")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one_turn(args.one[0], args.one[1], args.calls)))
        return 0
    report = Report(f"{CALLERS} callers in one program", ["callers", "requests/s", "MiB added", "processor ms/request"])
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "double")
        save_double(base / "1")
        with server_process(base) as endpoints:
            for over, target in targets(endpoints, only_one=args.one_row).items():
                compare(over, target, args.calls, 1 if args.one_row else args.rounds, report)
    return report.finish(args)


def targets(endpoints: ServerEndpoints, *, only_one: bool) -> dict[str, str]:
    return {"gRPC": endpoints.grpc_target} if only_one else {"gRPC": endpoints.grpc_target, "REST": endpoints.rest_target}


def compare(over: str, target: str, calls: int, rounds: int, report: Report) -> None:
    """Let both kinds of caller take turns at one port of the server."""
    turns: dict[str, list[dict[str, float]]] = {THREADS: [], TASKS: []}

    def turn(kind: str) -> float:
        command = [sys.executable, "-m", "benchmarks.many_clients", "--one", kind, target, "--calls", str(calls)]
        turns[kind].append(json.loads(run(command).output.splitlines()[-1]))
        return turns[kind][-1]["per_second"]

    rates = interleave({kind: partial(turn, kind) for kind in turns}, rounds)
    memory = {kind: [each["added_mb"] for each in figures] for kind, figures in turns.items()}
    for kind, name in ((THREADS, f"{CALLERS} threads, a Client each"), (TASKS, f"{CALLERS} tasks, one AsyncClient")):
        cpu = statistics.median(each["cpu_ms"] for each in turns[kind])
        row = (f"{statistics.median(rates[kind]):.0f}", f"{statistics.median(memory[kind]):.1f}", f"{cpu:.2f}")
        report.rows.append([f"{name}, {over}", *row])
    report.data[over] = turns
    slower = ratio(rates, THREADS, TASKS)
    verdicts = [
        Verdict(f"requests/s over {over}, threads / tasks", slower, 1 / LEAST_RATE, "x", inclusive=True),
        Verdict(f"memory over {over}, tasks / threads", ratio(memory, TASKS, THREADS), MOST_MEMORY, "x"),
    ]
    if over == "gRPC":
        report.verdicts += verdicts
    else:  # HTTP/1.1 needs a socket per request under way, in tasks as in threads
        report.notes += [f"{verdict.name}: {verdict.value:.2f} (no limit)" for verdict in verdicts]


def one_turn(kind: str, target: str, calls: int) -> dict[str, float]:
    """Return the figures of one turn, in this process."""
    with PeakMemory() as memory:
        seconds, processor = {THREADS: in_threads, TASKS: in_tasks}[kind](target, calls, memory.begin)
    requests = CALLERS * calls
    return {"per_second": requests / seconds, "cpu_ms": processor / requests * 1e3, "added_mb": memory.added / MEBIBYTE}


class PeakMemory:
    """Samples the resident size of this process in a thread.

    Attributes:
        added: the largest size after `begin` minus the size then, in bytes.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._base = self._peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def begin(self) -> None:
        self._base = self._peak = self._process.memory_info().rss

    @property
    def added(self) -> int:
        return self._peak - self._base

    def _sample(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            self._peak = max(self._peak, self._process.memory_info().rss)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()
        self._peak = max(self._peak, self._process.memory_info().rss)


def in_threads(target: str, calls: int, begin: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds on the wall clock and of this process's processor time."""
    first = Client(target)
    for _ in range(WARM_UP):
        first.predict("double", {"x": X})
    begin()
    ready, go = threading.Barrier(CALLERS + 1), threading.Event()

    def work() -> None:
        with Client(target) as client:
            client.predict("double", {"x": X})  # connects
            ready.wait()
            go.wait()
            for _ in range(calls):
                client.predict("double", {"x": X})

    threads = [threading.Thread(target=work) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    ready.wait()
    began, processor = time.perf_counter(), time.process_time()
    go.set()
    for thread in threads:
        thread.join()
    first.close()
    return time.perf_counter() - began, time.process_time() - processor


def in_tasks(target: str, calls: int, begin: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds on the wall clock and of this process's processor time."""

    async def work(client: AsyncClient, number: int) -> None:
        for _ in range(number):
            await client.predict("double", {"x": X})

    async def main() -> tuple[float, float]:
        async with AsyncClient(target) as client:
            await work(client, WARM_UP)
            begin()
            await all_of(client, 1)  # connects, over REST
            began, processor = time.perf_counter(), time.process_time()
            await all_of(client, calls)
            return time.perf_counter() - began, time.process_time() - processor

    async def all_of(client: AsyncClient, number: int) -> Any:
        return await asyncio.gather(*(work(client, number) for _ in range(CALLERS)))

    return asyncio.run(main())


if __name__ == "__main__":
    sys.exit(status_of(main))

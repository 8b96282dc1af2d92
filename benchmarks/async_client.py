"""What does a request cost 64 tasks that share an AsyncClient, compared with 64 threads that share a Client?

Measured: requests with 4 floats to the embedded server in another process, over gRPC and over REST, in a closed loop; both kinds
of client take turns. The figure is the processor time that the client's process takes per request. The requests per second are
printed too, but depend on what else runs: the 64 threads get a larger share of a busy machine than the one thread of the tasks.
Peer: `serving.Client` in threads. Limit: 1.3 times its processor time per request (tasks / threads, median of the rounds).
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving import save_double
from benchmarks.support.common import Report, Verdict, arguments, interleave, ratio, status_of
from serving import AsyncClient, Client
from serving.launch.server_process import server_process

CLIENTS = 64
COSTLIER = 1.3
X = np.array([[1, 2, 3, 4]], np.float32)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=15, help="calls of each task or thread per round")
    args = parser.parse_args()
    columns = ["client", "requests/s", "slowest round", "client's processor ms/request"]
    report = Report(f"{CLIENTS} tasks or {CLIENTS} threads", columns)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "double")
        save_double(base / "1")
        with server_process(base) as endpoints:
            targets = {"gRPC": endpoints.grpc_target} if args.one_row else endpoints_by_name(endpoints)
            for over, target in targets.items():
                compare(over, target, args.calls, 1 if args.one_row else args.rounds, report)
    return report.finish(args)


def endpoints_by_name(endpoints: Any) -> dict[str, str]:
    return {"gRPC": endpoints.grpc_target, "REST": endpoints.rest_target}


def compare(over: str, target: str, calls: int, rounds: int, report: Report) -> None:
    """Let both clients take turns at one port of the server."""
    threads, tasks = f"Client, {CLIENTS} threads, {over}", f"AsyncClient, {CLIENTS} tasks, {over}"
    cpu: dict[str, list[float]] = {threads: [], tasks: []}
    turns = {threads: partial(in_threads, target, calls), tasks: partial(in_tasks, target, calls)}

    def turn(name: str) -> float:
        seconds, processor = turns[name]()
        cpu[name].append(processor / (CLIENTS * calls) * 1e3)
        return CLIENTS * calls / seconds

    figures = interleave({name: partial(turn, name) for name in turns}, rounds)
    for name, per_second in figures.items():
        row = [statistics.median(per_second), min(per_second)]
        report.rows.append([name, *(f"{value:.0f}" for value in row), f"{statistics.median(cpu[name]):.2f}"])
    report.data.update({name: {"per_second": figures[name], "cpu_ms": cpu[name]} for name in figures})
    report.notes.append(f"requests/s over {over}, tasks / threads: {ratio(figures, tasks, threads):.2f}")
    cost = ratio(cpu, tasks, threads)
    report.verdicts.append(Verdict(f"processor time over {over}, tasks / threads", cost, COSTLIER, "", inclusive=True))


def in_threads(target: str, calls: int) -> tuple[float, float]:
    """Return the seconds on the wall clock and of this process's processor time."""

    def work(client: Client) -> None:
        for _ in range(calls):
            client.predict("double", {"x": X})

    with Client(target) as client, ThreadPoolExecutor(CLIENTS) as pool:

        def load() -> None:
            for done in [pool.submit(work, client) for _ in range(CLIENTS)]:
                done.result()

        load()  # threads and connections exist afterwards
        return timed(load)


def in_tasks(target: str, calls: int) -> tuple[float, float]:
    """Return the seconds on the wall clock and of this process's processor time."""

    async def work(client: AsyncClient) -> None:
        for _ in range(calls):
            await client.predict("double", {"x": X})

    async def load(client: AsyncClient) -> None:
        await asyncio.gather(*(work(client) for _ in range(CLIENTS)))

    async def main() -> tuple[float, float]:
        async with AsyncClient(target) as client:
            await load(client)
            return await timed_async(load(client))

    return asyncio.run(main())


def timed(load: Callable[[], None]) -> tuple[float, float]:
    began, processor = time.perf_counter(), time.process_time()
    load()
    return time.perf_counter() - began, time.process_time() - processor


async def timed_async(load: Coroutine[Any, Any, None]) -> tuple[float, float]:
    began, processor = time.perf_counter(), time.process_time()
    await load
    return time.perf_counter() - began, time.process_time() - processor


if __name__ == "__main__":
    sys.exit(status_of(main))

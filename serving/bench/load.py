"""Load generator: a server's latency and its requests per second, over the number of clients.

The loop is closed: each client sends its next request when the last one is answered. A request is encoded once and answers
are not decoded, so that the server is measured and not the client. First, one answer is compared with the expected one: the
speed of a wrong answer is not reported.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np

from serving.client.client import Client
from serving.client.connection import ConnectionSettings
from serving.client.prepared_request import PreparedRequest
from serving.errors import ConnectionFailedError, ProtocolError, ServingError
from serving.golden.compare import compare

WARM_UP_CALLS = 3
ROUNDS = 5
"""Turns of each server per load: servers take turns, so that a disturbance of the machine affects all of them."""


@dataclass(frozen=True)
class Load:
    """A load: the number of concurrent clients, and for how many seconds they send requests."""

    concurrency: int
    seconds: float = 3.0


@dataclass(frozen=True)
class LoadFigures:
    """Figures of one server under one load. Latencies are milliseconds from sending a request to its whole answer.

    Attributes:
        target: address of the server.
        over: `gRPC` or `REST`.
        model: name of the model.
        rows: rows per request; the rounded mean of several requests.
        concurrency: number of clients.
        requests: number of requests that were answered.
        failed: number of requests that failed.
        per_second: requests answered per second by all clients together.
        mean_ms: mean latency.
        p50_ms: median latency.
        p90_ms: 90th percentile of the latency.
        p99_ms: 99th percentile of the latency.
        max_ms: largest latency.
        failure: message of the first failed request; empty if none failed.
        rates: requests answered per second in each turn of the server.
    """

    target: str
    over: str
    model: str
    rows: int
    concurrency: int
    requests: int
    failed: int
    per_second: float
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    failure: str = ""
    rates: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain data for JSON."""
        rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}
        return {**rounded, "rates": [round(rate, 4) for rate in self.rates]}


def measure(
    targets: Sequence[str],
    request: PreparedRequest | Sequence[PreparedRequest],
    loads: Sequence[Load],
    *,
    timeout: float = 30.0,
    connection: ConnectionSettings | None = None,
    progress: Callable[[LoadFigures], None] | None = None,
) -> list[LoadFigures]:
    """Load servers in turns.

    Args:
        targets: `host:port` for gRPC or `http://host:port` for REST, see `serving.client.transport.Target`.
        request: the request that each client sends; or several, which each client sends one after the other.
        loads: the loads, applied one after the other.
        timeout: seconds after which a request counts as failed.
        connection: how to connect; by default, each request is sent once.
        progress: called with the figures of each server and load when they are known.

    Returns:
        The figures of each target under the first load, then under the second, and so on.

    Raises:
        TargetError: a target is not an address.
        ConnectionFailedError, DeadlineError, RequestError: a server does not answer the first request.
        ProtocolError: a server's first answer is wrong.
    """
    results = []
    requests = [request] if isinstance(request, PreparedRequest) else list(request)
    connect = partial(Client, timeout=timeout, connection=connection or ConnectionSettings().single_tries())
    for target in targets:
        with connect(target) as client:
            _check(client, requests[0])
    for load in loads:
        for figures in _one_load(targets, requests, load, connect):
            results.append(figures)
            if progress:
                progress(figures)
    return results


def _check(client: Client, request: PreparedRequest) -> None:
    got = request.send(client)
    for name, want in request.outputs.items():
        if name not in got:
            raise ProtocolError(
                f"The answer has no output {name!r}, only {sorted(got)}.", where=str(client.target), code="TFB7203"
            )
        difference = compare(name, want, got[name])
        if not difference.within(request.tolerance):
            raise ProtocolError(
                f"The server's answer differs from PyTorch's: {difference.explain()}.",
                where=f"{client.target}, model {request.model}",
                fix="check that the server serves this bundle; "
                f"`tfbundle smoke {client.target} --bundle DIR` shows all differences",
                code="TFB7203",
            )


def _one_load(
    targets: Sequence[str], requests: Sequence[PreparedRequest], load: Load, connect: Callable[[str], Client]
) -> list[LoadFigures]:
    with ExitStack() as stack:
        groups = [
            _Clients([stack.enter_context(connect(target)) for _ in range(load.concurrency)], requests)
            for target in targets
        ]
        for _ in range(ROUNDS):
            for group in groups:
                group.run(load.seconds / ROUNDS)
        return [group.figures() for group in groups]


class _Clients:
    """The clients of one server under one load, with the latencies and failures of their requests."""

    def __init__(self, clients: Sequence[Client], requests: Sequence[PreparedRequest]) -> None:
        self._clients = clients
        self._requests = requests
        self._calls = [_round_robin(client, requests, first) for first, client in enumerate(clients)]
        self._lock = threading.Lock()
        self._times: list[float] = []
        self._failures: list[str] = []
        self._elapsed = 0.0
        self._rates: list[float] = []
        self._is_warm = False

    def run(self, seconds: float) -> None:
        """Let all clients send requests at once, each for `seconds`."""
        ready, answered = threading.Barrier(len(self._calls) + 1), len(self._times)
        threads = [threading.Thread(target=self._loop, args=(call, seconds, ready)) for call in self._calls]
        for thread in threads:
            thread.start()
        ready.wait()
        started = time.perf_counter()
        for thread in threads:
            thread.join()
        elapsed = time.perf_counter() - started
        self._elapsed += elapsed
        self._rates.append((len(self._times) - answered) / elapsed)
        self._is_warm = True

    def _loop(self, call: Callable[[], object], seconds: float, ready: threading.Barrier) -> None:
        times: list[float] = []
        failures: list[str] = []
        if not self._is_warm:
            _connect(call, self._clients[0].timeout)
            for _ in range(WARM_UP_CALLS):
                _timed(call, [], failures)
        ready.wait()
        end = time.perf_counter() + seconds
        while True:
            _timed(call, times, failures)
            if time.perf_counter() >= end:
                break
        with self._lock:
            self._times += times
            self._failures += failures

    def figures(self) -> LoadFigures:
        target = self._clients[0].target
        milliseconds = np.array(self._times or [np.nan]) * 1e3
        p50, p90, p99 = (float(np.percentile(milliseconds, q)) for q in (50, 90, 99))
        return LoadFigures(
            target=str(target),
            over="REST" if target.rest else "gRPC",
            model=", ".join(dict.fromkeys(request.model for request in self._requests)),
            rows=round(sum(request.rows for request in self._requests) / len(self._requests)),
            concurrency=len(self._clients),
            requests=len(self._times),
            failed=len(self._failures),
            per_second=len(self._times) / self._elapsed,
            mean_ms=float(milliseconds.mean()),
            p50_ms=p50,
            p90_ms=p90,
            p99_ms=p99,
            max_ms=float(milliseconds.max()),
            failure=self._failures[0] if self._failures else "",
            rates=tuple(self._rates),
        )


def _round_robin(client: Client, requests: Sequence[PreparedRequest], first: int) -> Callable[[], object]:
    """Return a function that sends the requests in turn, beginning with number `first` (modulo their number)."""
    calls = [request.prepare(client) for request in requests]
    turns = cycle(calls[first % len(calls) :] + calls[: first % len(calls)])
    return lambda: next(turns)()


def _connect(call: Callable[[], object], seconds: float) -> None:
    """Call until the connection is open: many connections at once take longer than a channel's first attempt may."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        try:
            call()
        except ConnectionFailedError:
            time.sleep(0.1)
        except ServingError:
            return  # the next call counts the failure
        else:
            return


def _timed(call: Callable[[], object], times: list[float], failures: list[str]) -> None:
    started = time.perf_counter()
    try:
        call()
    except ServingError as exc:
        failures.append(exc.what)
    else:
        times.append(time.perf_counter() - started)

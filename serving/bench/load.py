"""Load generator: how quickly does a server answer, and how many requests a second, over the number of clients?

Closed loop: each client sends the next request when the last one is answered. A request is encoded once and answers are not
decoded, so that what is measured is the server. Before that one answer is held against the wanted one: a fast wrong answer is
no figure.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import Any

import numpy as np

from serving.client.client import Client
from serving.client.requests import PreparedRequest
from serving.errors import ConnectionFailedError, ProtocolError, ServingError
from serving.golden.compare import compare

WARM_UP_CALLS = 3
ROUNDS = 5
"""Turns of each server at one concurrency: what disturbs the machine disturbs them all."""


@dataclass(frozen=True)
class Load:
    """How a server is loaded: clients at once, and for how many seconds."""

    concurrency: int
    seconds: float = 3.0


@dataclass(frozen=True)
class LoadFigures:
    """What one server did under one load.

    Attributes:
        over: `gRPC` or `REST`.
        requests, failed: answered, and not answered; `failure` is the first one's text.
        per_second: requests answered a second, all clients together.
        p50_ms, p90_ms, p99_ms, max_ms, mean_ms: of a request, from sending to the whole answer.
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

    def to_json(self) -> dict[str, Any]:
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}


def measure(
    targets: Sequence[str],
    request: PreparedRequest | Sequence[PreparedRequest],
    loads: Sequence[Load],
    *,
    timeout: float = 30.0,
    progress: Callable[[LoadFigures], None] | None = None,
) -> list[LoadFigures]:
    """Load servers, in turns, with one kind of request, or with several that each client sends one after the other.

    Args:
        targets: `host:port` for gRPC or `http://host:port` for REST, see `serving.client.transport.Target`.
        loads: one after the other.
        timeout: seconds after which a request counts as failed.
        progress: called with each result as it is there.

    Returns:
        One result a load and target, in that order.

    Raises:
        TargetError: a target is none.
        ConnectionFailedError, DeadlineError, RequestError, ProtocolError: a server does not answer the first request, or
            wrongly.
    """
    results = []
    requests = [request] if isinstance(request, PreparedRequest) else list(request)
    for target in targets:
        with Client(target, timeout=timeout) as client:
            _check(client, requests[0])
    for load in loads:
        for figures in _one_load(targets, requests, load, timeout):
            results.append(figures)
            if progress:
                progress(figures)
    return results


def _check(client: Client, request: PreparedRequest) -> None:
    got = request.send(client)
    for name, want in request.outputs.items():
        if name not in got:
            raise ProtocolError(f"The answer has no output {name!r}, only {sorted(got)}.", where=str(client.target))
        difference = compare(name, np.asarray(want), np.asarray(got[name]))
        if not difference.within(request.tolerance):
            raise ProtocolError(
                f"The server answers something else than PyTorch: {difference.explain()}.",
                where=f"{client.target}, model {request.model}",
                fix="tfbundle smoke says more; is this the bundle that is served?",
            )


def _one_load(targets: Sequence[str], requests: Sequence[PreparedRequest], load: Load, timeout: float) -> list[LoadFigures]:
    with ExitStack() as stack:
        groups = [
            _Clients([stack.enter_context(Client(target, timeout=timeout)) for _ in range(load.concurrency)], requests)
            for target in targets
        ]
        for _ in range(ROUNDS):
            for group in groups:
                group.run(load.seconds / ROUNDS)
        return [group.figures() for group in groups]


class _Clients:
    """The clients of one server under one load, and what they saw."""

    def __init__(self, clients: Sequence[Client], requests: Sequence[PreparedRequest]) -> None:
        self._clients = clients
        self._requests = requests
        self._calls = [_prepared(client, requests, first) for first, client in enumerate(clients)]
        self._lock = threading.Lock()
        self._times: list[float] = []
        self._failures: list[str] = []
        self._elapsed = 0.0
        self._is_warm = False

    def run(self, seconds: float) -> None:
        """All clients at once, each for `seconds`."""
        ready = threading.Barrier(len(self._calls) + 1)
        threads = [threading.Thread(target=self._loop, args=(call, seconds, ready)) for call in self._calls]
        for thread in threads:
            thread.start()
        ready.wait()
        began = time.perf_counter()
        for thread in threads:
            thread.join()
        self._elapsed += time.perf_counter() - began
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
        )


def _prepared(client: Client, requests: Sequence[PreparedRequest], first: int) -> Callable[[], object]:
    """Sends one request after the other, beginning with another one in each client."""
    calls = [request.prepare(client) for request in requests]
    turns = cycle(calls[first % len(calls) :] + calls[: first % len(calls)])
    return lambda: next(turns)()


def _connect(call: Callable[[], object], seconds: float) -> None:
    """Call until there is a connection: many at once take longer to make than the first try of a channel has."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        try:
            call()
        except ConnectionFailedError:
            time.sleep(0.1)
        except ServingError:
            return  # counted by who calls next
        else:
            return


def _timed(call: Callable[[], object], times: list[float], failures: list[str]) -> None:
    began = time.perf_counter()
    try:
        call()
    except ServingError as exc:
        failures.append(exc.what)
    else:
        times.append(time.perf_counter() - began)

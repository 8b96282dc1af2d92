"""Ask two versions of a model on a live server the same logged requests, and compare their answers and latencies.

Each request goes to both versions, one after the other, and the version that is asked first alternates, so that a disturbance
of the machine, or a cache that the first one fills, favours neither. The time runs from sending a request to its whole answer;
encoding and decoding are not part of it. The log is read as it is sent: memory is that of the requests under way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from serving.client.client import Client
from serving.client.connection import ConnectionSettings
from serving.client.model_info import ModelInfo
from serving.client.steps import Request
from serving.errors import ConnectionFailedError, DeadlineError, ServingError, TargetError
from serving.protocol.tensors import Array
from serving.shadow.answers import OutputComparison, compare_answers
from serving.shadow.report import AgreeOn, ShadowReport
from serving.shadow.sides import Side, signature_changes
from serving.shadow.source import Logged, Source
from serving.shadow.tally import Tally
from serving.texts import plural

RECONNECT_SECONDS = 10.0
"""How long a server that cannot be reached may take to come back, e.g. behind a Service whose pods are replaced."""

SILENT = 3
"""So many requests in a row that neither version answers in time end the comparison."""

_TICK = 0.2
"""Seconds between two calls of the callback for progress."""

Answer: TypeAlias = dict[str, Array] | ServingError


@dataclass(frozen=True)
class Plan:
    """What is compared, and how.

    Attributes:
        sides: the two versions; the first one is the reference.
        model: the model; None for that of the first request.
        signature: the signature; None for all.
        outputs: the outputs to compare; empty for all, or those that a request asked for.
        limit: most requests; None for all.
        concurrency: number of requests under way at once.
        tolerance: the largest relative difference of values that agree, see `serving.golden.compare`.
        agree_on: what agreement means.
        noise_every: the first version is asked twice in every so many requests; 0 for never.
        worst: number of the worst requests that are kept.
        timeout: seconds to wait for an answer.
        connection: how to connect; None for the default settings.
    """

    sides: tuple[Side, Side]
    model: str | None = None
    signature: str | None = None
    outputs: tuple[str, ...] = ()
    limit: int | None = None
    concurrency: int = 1
    tolerance: float = 1e-4
    agree_on: AgreeOn = "values"
    noise_every: int = 10
    worst: int = 5
    timeout: float = 30.0
    connection: ConnectionSettings | None = None


class TimedClient(Client):
    """A client that knows how long the last exchange with the server took, for a single thread.

    Attributes:
        seconds: from sending the last request to its whole answer, or to its failure.
    """

    seconds = 0.0

    def _send(self, request: Request) -> bytes:
        started = time.perf_counter()
        try:
            return super()._send(request)
        finally:
            self.seconds = time.perf_counter() - started


class Shadow:
    """A comparison of two versions; `run` makes it, and `report` tells its result, also after `run` was interrupted.

    Args:
        target: `host:port` of a gRPC port, or an `http://` URL for REST.
        paths: logs of requests, or folders of logs.
        plan: what is compared.

    Raises:
        GoldenError: there is no log, or no request to compare.
        NotReadyError: the server does not serve a version.
        TargetError: the target is not an address, or both sides are one version.
        ConnectionFailedError: the server cannot be reached.
        RequestError: the server does not know the model.
    """

    def __init__(self, target: str, paths: Sequence[Path], plan: Plan) -> None:
        self._plan = plan
        self._target = target
        self._source = Source(paths, plan.model, plan.signature, plan.limit)
        self._model = self._source.first().request.model
        self.tally = Tally(plan.tolerance, plan.worst)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._clients: list[TimedClient] = []
        self._incomplete: list[str] = []
        self._silent = 0
        self._seconds = 0.0
        with Client(target, timeout=plan.timeout, connection=plan.connection) as client:
            self._shown = str(client.target)
            self._infos = self._resolved(client)
        _check_two(self._model, plan.sides, self._infos)
        self._names = tuple(map(str, plan.sides))

    def run(self, progress: Callable[[Tally], None] | None = None) -> None:
        """Send the requests.

        Args:
            progress: called about five times per second with the figures so far.

        Raises:
            ServingError: agreement is that of top classes, and the model answers no scores of classes.
            KeyboardInterrupt: the user stopped it; `report` then tells the figures so far.
        """
        started = time.monotonic()
        with ThreadPoolExecutor(self._plan.concurrency, "shadow") as pool:
            workers = [pool.submit(self._work) for _ in range(self._plan.concurrency)]
            try:
                self._watch(workers, progress)
            except BaseException as exc:
                if isinstance(exc, KeyboardInterrupt):
                    self._end(f"It was interrupted after {plural(self.tally.requests, 'request')}.")
                self._stop.set()
                for client in self._clients:
                    client.close()  # ends the calls under way
                raise
            finally:
                self._seconds = time.monotonic() - started
        self._check_end()

    def report(self) -> ShadowReport:
        """Return the figures so far."""
        first, second = self._infos
        left_out = self._source.left_out
        damage = list(left_out.damaged)
        if (more := left_out.damaged_count - len(left_out.damaged)) > 0:
            damage.append(f"There are {more} more damaged places.")
        return ShadowReport(
            target=self._shown,
            model=self._model,
            names=(self._names[0], self._names[1]),
            versions=(first.version, second.version),
            agree_on=self._plan.agree_on,
            tally=self.tally,
            left_out=left_out,
            changes=tuple(signature_changes(first, second)),
            incomplete=(*self._incomplete, *damage),
            seconds=self._seconds,
            concurrency=self._plan.concurrency,
        )

    def _resolved(self, client: Client) -> tuple[ModelInfo, ModelInfo]:
        first, second = (side.resolve(client, self._model) for side in self._plan.sides)
        return first, second

    def _watch(self, workers: list[Future[None]], progress: Callable[[Tally], None] | None) -> None:
        pending: set[Future[None]] = set(workers)
        while pending:
            done, pending = wait(pending, _TICK, FIRST_EXCEPTION)
            for future in done:
                future.result()
            if progress:
                progress(self.tally)

    def _check_end(self) -> None:
        """See whether the versions are still those that were compared: a label may have moved, or a version been unloaded."""
        if self._incomplete:
            return
        try:
            with Client(self._target, timeout=self._plan.timeout, connection=self._plan.connection) as client:
                now = self._resolved(client)
        except ServingError as exc:
            self._end(f"At the end, the versions could not be asked for any more: {exc.what}")
            return
        for side, before, after in zip(self._plan.sides, self._infos, now, strict=True):
            if before.version != after.version:
                moved = f"from version {before.version} to version {after.version}"
                self._end(f"The label {side.label!r} moved {moved} during the comparison.")

    def _end(self, why: str) -> None:
        with self._lock:
            if not self._stop.is_set():
                self._incomplete.append(why)
                self._stop.set()

    def _work(self) -> None:
        client = TimedClient(self._target, timeout=self._plan.timeout, connection=self._plan.connection)
        with client:
            self._clients.append(client)
            is_warm = False
            while not self._stop.is_set() and (logged := self._source.take()):
                try:
                    if not is_warm:
                        self._ask_both(client, logged)  # opens the connection, and lets the server prepare its first call
                        is_warm = True
                    self._compare(client, logged)
                except ConnectionFailedError as exc:
                    done = plural(self.tally.requests, "request")
                    self._end(f"The server could not be reached any more after {done}, at {logged}: {exc.what}")

    def _compare(self, client: TimedClient, logged: Logged) -> None:
        try:
            answers, seconds = self._ask_both(client, logged)
        except ConnectionFailedError as exc:
            if self._stop.is_set():
                raise
            self._reconnect(client, exc)
            answers, seconds = self._ask_both(client, logged)
        first, second = answers
        if isinstance(first, ServingError) or isinstance(second, ServingError):
            errors = tuple(answer if isinstance(answer, ServingError) else None for answer in answers)
            with self._lock:
                self.tally.add_failures(logged, (errors[0], errors[1]), self._names)
            self._note_silence(errors)
            return
        compared = self._compared(logged, first, second)
        agrees = self._agrees(compared)
        repeat = self._repeat(client, logged)
        again = None if repeat is None else self._compared(logged, first, repeat)
        with self._lock:
            self._silent = 0
            self.tally.add_answers(logged, compared, seconds, agrees)
            if again is not None:
                self.tally.add_repeat(logged, again, self._agrees(again))

    def _reconnect(self, client: TimedClient, reason: ConnectionFailedError) -> None:
        """Wait until the server answers again; raise the reason if it does not."""
        try:
            client.wait_until_ready(self._model, timeout=min(RECONNECT_SECONDS, self._plan.timeout))
        except ServingError as exc:
            raise reason from exc

    def _note_silence(self, errors: Sequence[ServingError | None]) -> None:
        with self._lock:
            self._silent = self._silent + 1 if all(isinstance(error, DeadlineError) for error in errors) else 0
            is_silent = self._silent >= SILENT
        if is_silent:
            self._end(f"Neither version answered {SILENT} requests in a row within {self._plan.timeout:g} s.")

    def _ask_both(self, client: TimedClient, logged: Logged) -> tuple[tuple[Answer, Answer], tuple[float, float]]:
        """Return the answers or errors of both versions, and how long each took, in seconds."""
        answers: list[Answer] = [{}, {}]
        seconds = [0.0, 0.0]
        for number in (0, 1) if logged.index % 2 == 0 else (1, 0):
            answers[number] = self._ask(client, logged, self._plan.sides[number])
            seconds[number] = client.seconds
        return (answers[0], answers[1]), (seconds[0], seconds[1])

    def _ask(self, client: TimedClient, logged: Logged, side: Side) -> Answer:
        try:
            return replace(logged.request, version=side.version, label=side.label).send(client)
        except ConnectionFailedError:
            raise
        except ServingError as exc:
            return exc

    def _repeat(self, client: TimedClient, logged: Logged) -> dict[str, Array] | None:
        """Return the first version's second answer to a request of the sample; None for other requests, or if it fails."""
        if not self._plan.noise_every or logged.index % self._plan.noise_every:
            return None
        with suppress(ConnectionFailedError):  # the next request tells
            answer = self._ask(client, logged, self._plan.sides[0])
            return None if isinstance(answer, ServingError) else answer
        return None

    def _compared(self, logged: Logged, first: dict[str, Array], second: dict[str, Array]) -> tuple[OutputComparison, ...]:
        outputs = self._plan.outputs or logged.output_filter
        compared = compare_answers(first, second, verb=logged.request.verb, outputs=outputs)
        if self._plan.agree_on == "top1" and not any(each.rows for each in compared):
            raise _without_classes(logged, first, self._plan.outputs)
        if not compared:
            raise _without_outputs(logged, first, outputs)
        return compared

    def _agrees(self, compared: Sequence[OutputComparison]) -> bool:
        if self._plan.agree_on == "top1":
            return all(each.same_top == each.rows for each in compared)
        return all(each.difference.within(self._plan.tolerance) for each in compared)


def _check_two(model: str, sides: tuple[Side, Side], infos: tuple[ModelInfo, ModelInfo]) -> None:
    first, second = infos
    if first.version != second.version:
        return
    named = f"{sides[0]} and {sides[1]}" if sides[0] != sides[1] else f"{sides[0]} twice"
    raise TargetError(
        f"Both sides are version {first.version} of {model!r} ({named}), which would be compared with itself.",
        fix="name two versions, e.g. --versions 1 2",
        code="TFB9353",
    )


def _without_classes(logged: Logged, answer: dict[str, Array], outputs: Sequence[str]) -> ServingError:
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in answer.items() if not outputs or name in outputs)
    return ServingError(
        f"Agreement on top classes needs an output with scores of classes, float [rows, classes]; {logged} answers "
        f"{shapes or 'none of the outputs named'}.",
        fix="leave out --agree-on, or choose a signature or output that has scores",
        code="TFB9355",
    )


def _without_outputs(logged: Logged, answer: dict[str, Array], outputs: Sequence[str]) -> ServingError:
    there = ", ".join(sorted(answer)) or "no outputs"
    return ServingError(
        f"Neither version answers {', '.join(map(repr, outputs))} to {logged}; there are: {there}.",
        fix="choose --output from these names, or a --signature that has it",
        code="TFB9356",
    )

"""Replay logged requests (`serving.client.request_log`), and compare the answers with the recorded ones, if there are any."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from serving.client.client import Client
from serving.client.connection import ConnectionSettings
from serving.client.prepared_request import PreparedRequest
from serving.client.request_log import NOT_SENT, log_files, read_log
from serving.errors import GoldenError, ServingError
from serving.golden.compare import compare
from serving.smoke.run import Check, Outcome, SmokeReport
from serving.texts import plural


@dataclass(frozen=True)
class RequestLog:
    """The requests of a file.

    Attributes:
        requests: predict, classify and regress requests, in order, with the recorded outputs if there are any.
        left_out: kind of record (`multi_inference_log`, …) -> number of records, which no call of the client can send.
    """

    requests: tuple[PreparedRequest, ...]
    left_out: Mapping[str, int]


def read_requests(path: Path) -> RequestLog:
    """Read the requests of a file, or of the files below a folder.

    Raises:
        GoldenError: a file is damaged, or there is no request that can be sent again.
    """
    requests = []
    left_out: Counter[str] = Counter()
    for record in chain.from_iterable(map(read_log, log_files(path))):
        if record.error:
            raise record.error
        if record.request:
            requests.append(record.request)
        else:
            left_out[record.kind] += 1
    if not requests:
        others = "".join(f", only {count} of {name}" for name, count in sorted(left_out.items()))
        raise GoldenError(
            f"{path} has no predict, classify or regress request{others}.",
            fix="log some requests with `tfbundle serve DIR --log_requests=FOLDER`",
            code="TFB7202",
        )
    return RequestLog(tuple(requests), left_out)


def replay(
    target: str,
    path: Path,
    *,
    timeout: float = 60.0,
    connection: ConnectionSettings | None = None,
    progress: Callable[[Check], None] | None = None,
) -> SmokeReport:
    """Send the requests of a file and compare the answers with the recorded ones.

    Args:
        target: `host:port` of a gRPC port, or an `http://` URL for REST.
        path: the TFRecord file, or a folder of such files.
        timeout: seconds for each model to become available, and for each answer.
        connection: how to connect; None for the default settings.
        progress: called with each check when it is done.

    Raises:
        GoldenError: the file is damaged or has no request.
        TargetError: the target is not an address.
        ServingError: a model in the file is not ready within `timeout` seconds.
    """
    log = read_requests(path)
    started = time.monotonic()
    checks: list[Check] = []

    def record(check: Check) -> None:
        checks.append(check)
        if progress:
            progress(check)

    with Client(target, timeout=timeout, connection=connection) as client:
        for model in dict.fromkeys(request.model for request in log.requests):
            client.wait_until_ready(model, timeout=timeout)
        for number, request in enumerate(log.requests, start=1):
            record(_check(client, request, number))
        over = "REST" if client.target.rest else "gRPC"
        for name, count in sorted(log.left_out.items()):
            record(Check(over, "", 0, f"replay {name}", "skipped", _not_replayed(name, count)))
        return SmokeReport((str(client.target),), tuple(checks), time.monotonic() - started)


def _not_replayed(kind: str, count: int) -> str:
    return f"{plural(count, 'record')} of a kind that cannot be replayed: {NOT_SENT.get(kind, 'unknown')}"


def _check(client: Client, request: PreparedRequest, number: int) -> Check:
    over, what = "REST" if client.target.rest else "gRPC", f"replay {number} {request.signature}"
    started = time.monotonic()
    try:
        got = request.send(client)
    except ServingError as exc:
        return Check(over, request.model, request.version or 0, what, "failed", exc.what, seconds=time.monotonic() - started)
    seconds = time.monotonic() - started
    missing = sorted(set(request.outputs) - set(got))
    differences = [compare(name, want, got[name]) for name, want in request.outputs.items() if name in got]
    problems = [difference.explain() for difference in differences if not difference.within(request.tolerance)]
    problems += [f"the answer has no output {name!r}" for name in missing]
    worst = max((difference.max_rel for difference in differences), default=None)
    outcome: Outcome = "failed" if problems else "passed"
    return Check(over, request.model, request.version or 0, what, outcome, "; ".join(problems), worst, seconds)

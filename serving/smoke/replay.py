"""Replay logged requests: a TFRecord file of PredictionLog messages, either a server's request log or warm-up records.

Answers are compared with the recorded ones; warm-up records have none.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from serving.client.client import Client
from serving.client.examples import EXAMPLES, classes_as_outputs, classes_from_proto, serialized_examples
from serving.client.prepared_request import PreparedRequest
from serving.client.transport import MAX_RESPONSE_BYTES
from serving.errors import GoldenError, ServingError
from serving.golden.compare import compare
from serving.protocol.messages import DEFAULT_SIGNATURE, serving_message
from serving.protocol.tensors import Array, from_proto
from serving.protocol.tfrecord import read_records
from serving.smoke.run import Check, Outcome, SmokeReport
from serving.texts import plural

TOLERANCE = 1e-4
"""Largest allowed relative error against a recorded answer: other batches and machines add in another order."""


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
    """Read the requests of a file.

    Raises:
        GoldenError: the file is damaged, or has no request that can be sent again.
    """
    kind = serving_message("PredictionLog")
    requests = []
    left_out: Counter[str] = Counter()
    for number, record in enumerate(read_records(path), start=1):
        try:
            entry = kind.FromString(record)
        except DecodeError as exc:
            raise GoldenError(
                f"Record {number} of {path} is not a PredictionLog.", fix="record the requests again", code="TFB7202"
            ) from exc
        log_type = entry.WhichOneof("log_type") or "none"
        if log_type in _READERS:
            requests.append(_READERS[log_type](getattr(entry, log_type)))
        else:
            left_out[log_type] += 1
    if not requests:
        others = "".join(f", only {count} of {name}" for name, count in sorted(left_out.items()))
        raise GoldenError(
            f"{path} has no predict, classify or regress request{others}.",
            fix="log some requests with `tfbundle serve DIR --log_requests=FOLDER`",
            code="TFB7202",
        )
    return RequestLog(tuple(requests), left_out)


def _predict_request(entry: Any) -> PreparedRequest:
    return PreparedRequest(
        **_model_spec(entry),
        inputs={name: from_proto(tensor, MAX_RESPONSE_BYTES) for name, tensor in sorted(entry.request.inputs.items())},
        outputs={name: from_proto(tensor, MAX_RESPONSE_BYTES) for name, tensor in sorted(entry.response.outputs.items())},
    )


def _classify_request(entry: Any) -> PreparedRequest:
    rows = classes_from_proto(entry.response.result)
    outputs = classes_as_outputs(rows) if rows else {}
    return PreparedRequest(**_model_spec(entry), inputs=_examples(entry), outputs=outputs, verb="Classify")


def _regress_request(entry: Any) -> PreparedRequest:
    values = np.array([regression.value for regression in entry.response.result.regressions], np.float32)
    outputs = {"outputs": values} if values.size else {}
    return PreparedRequest(**_model_spec(entry), inputs=_examples(entry), outputs=outputs, verb="Regress")


_READERS = {"predict_log": _predict_request, "classify_log": _classify_request, "regress_log": _regress_request}


def _model_spec(entry: Any) -> dict[str, Any]:
    spec = entry.request.model_spec
    return {
        "model": spec.name,
        "signature": spec.signature_name or DEFAULT_SIGNATURE,
        "version": spec.version.value if spec.HasField("version") else None,
        "tolerance": TOLERANCE,
    }


def _examples(entry: Any) -> dict[str, Array]:
    return {EXAMPLES: np.array(serialized_examples(entry.request.input), np.object_)}


def replay(
    target: str, path: Path, *, timeout: float = 60.0, progress: Callable[[Check], None] | None = None
) -> SmokeReport:
    """Send the requests of a file and compare the answers with the recorded ones.

    Args:
        target: `host:port` of a gRPC port, or an `http://` URL for REST.
        path: the TFRecord file.
        timeout: seconds for each model to become available, and for each answer.
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

    with Client(target, timeout=timeout) as client:
        for model in dict.fromkeys(request.model for request in log.requests):
            client.wait_until_ready(model, timeout=timeout)
        for number, request in enumerate(log.requests, start=1):
            record(_check(client, request, number))
        over = "REST" if client.target.rest else "gRPC"
        for name, count in sorted(log.left_out.items()):
            record(Check(over, "", 0, f"replay {name}", "skipped", _not_replayed(count)))
        return SmokeReport((str(client.target),), tuple(checks), time.monotonic() - started)


def _not_replayed(count: int) -> str:
    return f"{plural(count, 'record')} of a kind that cannot be replayed"


def _check(client: Client, request: PreparedRequest, number: int) -> Check:
    over, what = "REST" if client.target.rest else "gRPC", f"replay {number} {request.signature}"
    started = time.monotonic()
    try:
        got = request.send(client)
    except ServingError as exc:
        return Check(over, request.model, request.version or 0, what, "failed", exc.what, seconds=time.monotonic() - started)
    seconds = time.monotonic() - started
    missing = sorted(set(request.outputs) - set(got))
    differences = [
        compare(name, np.asarray(want), np.asarray(got[name])) for name, want in request.outputs.items() if name in got
    ]
    problems = [difference.explain() for difference in differences if not difference.within(request.tolerance)]
    problems += [f"the answer has no output {name!r}" for name in missing]
    worst = max((difference.max_rel for difference in differences), default=None)
    outcome: Outcome = "failed" if problems else "passed"
    return Check(over, request.model, request.version or 0, what, outcome, "; ".join(problems), worst, seconds)

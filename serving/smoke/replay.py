"""Requests that were logged (TFRecord of PredictionLog: the server's log, or warm-up records), sent again.

A recorded answer is what the answer of today is held against; warm-up records have none.
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
from serving.client.examples import EXAMPLES, classes_as_outputs, classes_of, serialized
from serving.client.requests import PreparedRequest
from serving.errors import GoldenError, ServingError
from serving.golden.compare import compare
from serving.protocol.messages import DEFAULT_SIGNATURE, serving_message
from serving.protocol.tensors import Array, from_proto
from serving.protocol.tfrecord import read_records
from serving.smoke.run import Check, Outcome, SmokeReport

TOLERANCE = 1e-4
"""Largest relative error of an answer against the recorded one: other batches and machines add in another order."""


@dataclass(frozen=True)
class Logged:
    """The requests of a file.

    Attributes:
        requests: predict, classify and regress requests, in order, with the recorded outputs where there are some.
        left_out: kind of record (`multi_inference_log`, …) -> how many there are that no client call sends.
    """

    requests: tuple[PreparedRequest, ...]
    left_out: Mapping[str, int]


def read_requests(path: Path) -> Logged:
    """Read a file.

    Raises:
        GoldenError: it is damaged, or has no request that can be sent again.
    """
    kind = serving_message("PredictionLog")
    requests = []
    left_out: Counter[str] = Counter()
    for number, record in enumerate(read_records(path), start=1):
        try:
            entry = kind.FromString(record)
        except DecodeError as exc:
            raise GoldenError(f"Record {number} of {path} is no PredictionLog.", fix="record it again") from exc
        log_type = entry.WhichOneof("log_type") or "none"
        if log_type in _READERS:
            requests.append(_READERS[log_type](getattr(entry, log_type)))
        else:
            left_out[log_type] += 1
    if not requests:
        held = "".join(f", only {count} of {name}" for name, count in sorted(left_out.items()))
        raise GoldenError(
            f"{path} has no predict, classify or regress request{held}.",
            fix="log some: tfbundle serve DIR --log_requests=FOLDER",
        )
    return Logged(tuple(requests), left_out)


def _predicted(entry: Any) -> PreparedRequest:
    return PreparedRequest(
        **_asked(entry),
        inputs={name: from_proto(tensor) for name, tensor in sorted(entry.request.inputs.items())},
        outputs={name: _wanted(from_proto(tensor)) for name, tensor in sorted(entry.response.outputs.items())},
    )


def _classified(entry: Any) -> PreparedRequest:
    rows = classes_of(entry.response.result)
    outputs = classes_as_outputs(rows) if rows else {}
    return PreparedRequest(**_asked(entry), inputs=_examples(entry), outputs=outputs, verb="Classify")


def _regressed(entry: Any) -> PreparedRequest:
    values = np.array([one.value for one in entry.response.result.regressions], np.float32)
    outputs = {"outputs": values} if values.size else {}
    return PreparedRequest(**_asked(entry), inputs=_examples(entry), outputs=outputs, verb="Regress")


_READERS = {"predict_log": _predicted, "classify_log": _classified, "regress_log": _regressed}


def _asked(entry: Any) -> dict[str, Any]:
    spec = entry.request.model_spec
    return {
        "model": spec.name,
        "signature": spec.signature_name or DEFAULT_SIGNATURE,
        "version": spec.version.value if spec.HasField("version") else None,
        "tolerance": TOLERANCE,
    }


def _examples(entry: Any) -> dict[str, Array]:
    return {EXAMPLES: np.array(serialized(entry.request.input), np.object_)}


def _wanted(array: Array) -> Array:
    """Strings as text, as golden data have them."""
    if array.dtype != np.object_:
        return array
    return np.array([value.decode("utf-8", "replace") for value in array.ravel()], str).reshape(array.shape)


def replay(
    target: str, path: Path, *, timeout: float = 60.0, progress: Callable[[Check], None] | None = None
) -> SmokeReport:
    """Send the requests of a file and compare the answers with the recorded ones.

    Raises:
        GoldenError: the file is damaged or has no request.
        TargetError: the target is none.
        ServingError: a model of it is not ready within `timeout` seconds.
    """
    logged = read_requests(path)
    began = time.monotonic()
    checks: list[Check] = []

    def tell(check: Check) -> None:
        checks.append(check)
        if progress:
            progress(check)

    with Client(target, timeout=timeout) as client:
        for model in dict.fromkeys(request.model for request in logged.requests):
            client.wait_until_ready(model, timeout=timeout)
        for number, request in enumerate(logged.requests, start=1):
            tell(_check(client, request, number))
        over = "REST" if client.target.rest else "gRPC"
        for name, count in sorted(logged.left_out.items()):
            tell(Check(over, "", 0, f"replay {name}", "skipped", f"{count} records of a kind that is not sent again"))
        return SmokeReport((str(client.target),), tuple(checks), time.monotonic() - began)


def _check(client: Client, request: PreparedRequest, number: int) -> Check:
    over, what = "REST" if client.target.rest else "gRPC", f"replay {number} {request.signature}"
    began = time.monotonic()
    try:
        got = request.ask(client)
    except ServingError as exc:
        return Check(over, request.model, request.version or 0, what, "failed", exc.what, seconds=time.monotonic() - began)
    seconds = time.monotonic() - began
    missing = sorted(set(request.outputs) - set(got))
    differences = [
        compare(name, np.asarray(want), np.asarray(got[name])) for name, want in request.outputs.items() if name in got
    ]
    wrong = [difference.explain() for difference in differences if not difference.within(request.tolerance)]
    wrong += [f"the answer has no output {name!r}" for name in missing]
    worst = max((difference.max_rel for difference in differences), default=None)
    outcome: Outcome = "failed" if wrong else "passed"
    return Check(over, request.model, request.version or 0, what, outcome, "; ".join(wrong), worst, seconds)

"""Requests that were logged (TFRecord of PredictionLog: the server's log, or warm-up records), sent again.

A recorded answer is what the answer of today is held against; warm-up records have none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from serving.bench import Request
from serving.client import Client
from serving.compare import compare
from serving.errors import GoldenError, ServingError
from serving.protocol.messages import serving_message
from serving.protocol.tensors import Array, from_proto
from serving.protocol.tfrecord import read_records
from serving.smoke import Check, Outcome, SmokeReport

TOLERANCE = 1e-4
"""Largest relative error of an answer against the recorded one: other batches and machines add in another order."""


def read_requests(path: Path) -> list[Request]:
    """The predict requests of a file, with the recorded outputs where there are some.

    Raises:
        GoldenError: it is damaged, or has no predict request.
    """
    kind = serving_message("PredictionLog")
    requests = []
    for number, record in enumerate(read_records(path), start=1):
        try:
            entry = kind.FromString(record)
        except DecodeError as exc:
            raise GoldenError(f"Record {number} of {path} is no PredictionLog.", fix="record it again") from exc
        if entry.WhichOneof("log_type") == "predict_log":
            requests.append(_request(entry.predict_log))
    if not requests:
        raise GoldenError(f"{path} has no predict request.", fix="log some: tfbundle serve DIR --log_requests=FOLDER")
    return requests


def _request(entry: Any) -> Request:
    spec = entry.request.model_spec
    return Request(
        model=spec.name,
        inputs={name: from_proto(tensor) for name, tensor in sorted(entry.request.inputs.items())},
        signature=spec.signature_name or "serving_default",
        version=spec.version.value if spec.HasField("version") else None,
        outputs={name: _wanted(from_proto(tensor)) for name, tensor in sorted(entry.response.outputs.items())},
        tolerance=TOLERANCE,
    )


def _wanted(array: Array) -> Array:
    """Strings as text, as golden data have them."""
    if array.dtype != np.object_:
        return array
    return np.array([value.decode("utf-8", "replace") for value in array.ravel()], str).reshape(array.shape)


def replay(
    target: str, path: Path, *, timeout: float = 60.0, progress: Callable[[Check], None] | None = None
) -> SmokeReport:
    """Send the predict requests of a file and compare the answers with the recorded ones.

    Raises:
        GoldenError: the file is damaged or has no predict request.
        TargetError: the target is none.
        ServingError: a model of it is not ready within `timeout` seconds.
    """
    requests = read_requests(path)
    began = time.monotonic()
    checks = []
    with Client(target, timeout=timeout) as client:
        for model in dict.fromkeys(request.model for request in requests):
            client.wait_until_ready(model, timeout=timeout)
        for number, request in enumerate(requests, start=1):
            checks.append(_check(client, request, number))
            if progress:
                progress(checks[-1])
        return SmokeReport((str(client.target),), tuple(checks), time.monotonic() - began)


def _check(client: Client, request: Request, number: int) -> Check:
    over, what = "REST" if client.target.rest else "gRPC", f"replay {number} {request.signature}"
    began = time.monotonic()
    try:
        got = client.predict(request.model, request.inputs, version=request.version, signature=request.signature)
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

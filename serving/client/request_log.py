"""Read logs of requests: TFRecord files of PredictionLog messages, either a server's request log or warm-up records.

A record is read when it is asked for, so that a log may be larger than the memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from serving.client.examples import EXAMPLES, classes_as_outputs, classes_from_proto, serialized_examples
from serving.client.prepared_request import PreparedRequest
from serving.client.transport import MAX_RESPONSE_BYTES
from serving.errors import GoldenError, ServingError
from serving.protocol.messages import DEFAULT_SIGNATURE, serving_message
from serving.protocol.tensors import Array, from_proto
from serving.protocol.tfrecord import read_records

TOLERANCE = 1e-4
"""Largest allowed relative error against a recorded answer: other batches and machines add in another order."""

NOT_SENT = {
    "multi_inference_log": "the client has no call for MultiInference",
    "session_run_log": "the client has no call for SessionRun",
    "predict_streamed_log": "the client has no call for streamed Predict",
    "none": "the record holds no request",
}
"""Kind of record that no call of the client can send again -> why."""


@dataclass(frozen=True)
class LogRecord:
    """One record of a log.

    Attributes:
        number: its place in the file, from 1.
        kind: the field of PredictionLog that it fills (`predict_log`, …), or `none`.
        request: the request with the recorded outputs, if there are any; None if it cannot be sent again.
        output_filter: the outputs that a predict request asked for; empty for all.
        error: why the record cannot be read; None if it can.
    """

    number: int
    kind: str
    request: PreparedRequest | None = None
    output_filter: tuple[str, ...] = ()
    error: GoldenError | None = None


def log_files(path: Path) -> list[Path]:
    """Return the file, or the files below a folder in the order of their paths; hidden ones are left out.

    Raises:
        GoldenError: there is no such file or folder, or the folder has no file.
    """
    try:
        if not path.is_dir():
            return [path]
    except ValueError:  # a path with NUL, which `read_log` refuses
        return [path]
    files = [Path(folder, name) for folder, _, names in os.walk(path) for name in names if not name.startswith(".")]
    if not files:
        fix = "give a file of requests, or the folder that --log_requests wrote to"
        raise GoldenError(f"The folder {path} has no file of requests.", fix=fix, code="TFB7202")
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts))


def read_log(path: Path, *, answers: bool = True, end: int | None = None) -> Iterator[LogRecord]:
    """Yield the records of a file. One that cannot be read has an `error`, and those behind it are read.

    Args:
        path: the TFRecord file.
        answers: whether the recorded outputs are read, too.
        end: where to stop, see `read_records`.

    Raises:
        GoldenError: the file cannot be opened or is damaged, so that nothing behind this place can be read.
    """
    kind = serving_message("PredictionLog")
    for number, data in enumerate(read_records(path, end), start=1):
        try:
            yield _record(number, kind.FromString(data), answers)
        except DecodeError:
            what = f"Record {number} of {path} is not a PredictionLog."
            yield LogRecord(number, "none", error=GoldenError(what, fix="record the requests again", code="TFB7202"))
        except ServingError as exc:
            what = f"Record {number} of {path} cannot be sent again: {exc.what}"
            yield LogRecord(number, "none", error=GoldenError(what, fix="record the requests again", code="TFB7202"))


def _record(number: int, entry: Any, answers: bool) -> LogRecord:
    kind = entry.WhichOneof("log_type") or "none"
    if kind not in _READERS:
        return LogRecord(number, kind)
    logged = getattr(entry, kind)
    if not answers:
        logged.ClearField("response")
    chosen = tuple(logged.request.output_filter) if kind == "predict_log" else ()
    return LogRecord(number, kind, _READERS[kind](logged), chosen)


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


_READERS: dict[str, Callable[[Any], PreparedRequest]] = {
    "predict_log": _predict_request,
    "classify_log": _classify_request,
    "regress_log": _regress_request,
}


def _model_spec(entry: Any) -> dict[str, Any]:
    spec = entry.request.model_spec
    return {
        "model": spec.name,
        "signature": spec.signature_name or DEFAULT_SIGNATURE,
        "version": spec.version.value if spec.HasField("version") else None,
        "label": spec.version_label or None,
        "tolerance": TOLERANCE,
    }


def _examples(entry: Any) -> dict[str, Array]:
    return {EXAMPLES: np.array(serialized_examples(entry.request.input), np.object_)}

"""TensorFlow Serving over REST: requests, answers and errors. `rest_transport` and `async_rest` send what this module encodes.

Bodies are compressed on request, answers never: a small one could become a huge one.

JSON carries no dtypes: answers get the dtypes of the signature's metadata, which is requested once per model, version or
label, and again if an answer has other outputs. JSON cannot carry float16, bfloat16 and uint16 (TensorFlow Serving refuses
them) or complex numbers; 64-bit integers and all float32 and float64 values are transferred exactly.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
from google.protobuf import json_format

from serving.client import arguments
from serving.client.connection import ConnectionSettings
from serving.client.examples import Classes, classes_from_json, to_json, values_from_json
from serving.client.http_exchange import Answer, retry_seconds
from serving.client.model_info import (
    ModelInfo,
    SignatureInfo,
    TensorInfo,
    VersionStatus,
    signatures_from_proto,
    statuses_from_proto,
)
from serving.client.steps import Request, Steps
from serving.client.transport import (
    MAX_RESPONSE_BYTES,
    ModelRef,
    Target,
    Verb,
    lost,
    reachable,
    refusal,
    too_long,
    unsent,
    was_forwarded,
)
from serving.errors import (
    ConnectionFailedError,
    DeadlineError,
    ProtocolError,
    RequestError,
    TensorError,
)
from serving.protocol.messages import serving_message
from serving.protocol.tensors import Array, array_dtype_name, string_bytes

NOT_IN_JSON = ("float16", "bfloat16", "uint16", "complex64", "complex128")
"""Dtypes that TensorFlow Serving's JSON cannot carry."""

_STATUS_OF_HTTP = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED",
    412: "FAILED_PRECONDITION", 413: "RESOURCE_EXHAUSTED", 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED",
    500: "INTERNAL", 501: "UNIMPLEMENTED", 502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
"""The most likely gRPC code for an HTTP status; several codes share a status."""

_WORTH_GZIP = 1024
"""Shorter bodies gain nothing: they fit into one packet."""
_GZIP_LEVEL = 1
"""Digits shrink to about 45 % at level 1, and to 40 % at level 6 in five times the time."""

_OK, _UNAVAILABLE = 200, 503

_NOT_AS_EXPECTED = (json_format.ParseError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What json_format and the code around it raise for JSON of another form."""

_NOT_THE_SERVER = "check that this is TensorFlow Serving's REST port, and that no proxy in front of it answers"

_MAX_MESSAGE = 4096
"""Most characters of a server's error message that an error shows."""

_LIST_BYTES, _OBJECT_BYTES, _VALUE_BYTES, _QUOTE_BYTES = 88, 232, 40, 30
"""Memory of JSON's values as Python's objects: a list, an object, any value with its reference, half of a text's overhead."""


class RestProtocol:
    """The requests to one server's REST port as steps that yield JSON and take an `Answer`.

    Args:
        target: the server's address.
        settings: how to connect.
        row: send `instances` (one object per example) instead of `inputs` (one list per tensor).
        max_response_bytes: most bytes of an answer, and of what its JSON is decoded to.

    Attributes:
        target: the server's address.
        max_bytes: the same limit.
    """

    def __init__(
        self,
        target: Target,
        settings: ConnectionSettings | None = None,
        *,
        row: bool = False,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        self.target = self._target = target
        self._is_gzipping = settings is not None and settings.channels.compression == "gzip"
        self._row = row
        self.max_bytes = max_response_bytes
        self._metadata: dict[ModelRef, ModelInfo] = {}

    def predict(
        self, ref: ModelRef, signature: str, inputs: Mapping[str, Array], timeout: float
    ) -> Steps[dict[str, Array]]:
        """Run a signature; see `WireProtocol.predict`."""
        body = self._predict_body(signature, inputs)
        answer = yield from self._json("POST", self._path(ref) + ":predict", ref, timeout, body)
        outputs = (yield from self._signature(ref, signature, timeout)).outputs
        values = _outputs(answer, outputs, self._row)
        if values is None:  # the server has switched to another version: request its signature
            self._metadata.pop(ref, None)
            outputs = (yield from self._signature(ref, signature, timeout)).outputs
            values = _outputs(answer, outputs, self._row)
        if values is None:
            raise ProtocolError(
                f"The answer of {ref} does not have exactly the outputs {sorted(outputs)}.",
                where=str(self._target),
                fix=_NOT_THE_SERVER,
            )
        return {name: _decode(name, values[name], info) for name, info in outputs.items()}

    def prepare(self, ref: ModelRef, signature: str, inputs: Mapping[str, Array], timeout: float) -> Callable[[], Steps[object]]:
        """Encode a predict request once; see `WireProtocol.prepare`."""
        return self._prepared("Predict", self._predict_body(signature, inputs), ref, timeout)

    def prepare_examples(
        self, verb: Verb, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float
    ) -> Callable[[], Steps[object]]:
        """Encode a classify or regress request once; see `WireProtocol.prepare_examples`."""
        return self._prepared(verb, _examples_body(signature, examples), ref, timeout)

    def _prepared(self, verb: Verb, body: bytes, ref: ModelRef, timeout: float) -> Callable[[], Steps[object]]:
        request = self._request("POST", f"{self._path(ref)}:{verb.lower()}", ref, timeout, body)

        def call() -> Steps[object]:
            answer: object = yield request
            return answer

        return call

    def _predict_body(self, signature: str, inputs: Mapping[str, Array]) -> bytes:
        body = {"signature_name": signature, **(_rows(inputs) if self._row else _columns(inputs))}
        return json.dumps(body).encode()

    def classify(self, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float) -> Steps[Classes]:
        """Return the classes of each example; see `WireProtocol.classify`."""
        return classes_from_json((yield from self._infer("classify", ref, signature, examples, timeout)))

    def regress(self, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float) -> Steps[list[float]]:
        """Return one number per example; see `WireProtocol.regress`."""
        return values_from_json((yield from self._infer("regress", ref, signature, examples, timeout)))

    def _infer(self, verb: str, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float) -> Steps[Any]:
        return self._json("POST", f"{self._path(ref)}:{verb}", ref, timeout, _examples_body(signature, examples))

    def metadata(self, ref: ModelRef, timeout: float) -> Steps[ModelInfo]:
        """Return the signatures of a version; see `WireProtocol.metadata`."""
        answer = yield from self._json("GET", self._path(ref) + "/metadata", ref, timeout)
        try:
            signatures = json_format.ParseDict(
                answer["metadata"]["signature_def"],
                serving_message("SignatureDefMap")(),
                ignore_unknown_fields=True,
            )
            spec = answer["model_spec"]
            info = ModelInfo(str(spec["name"]), int(spec["version"]), signatures_from_proto(signatures))
        except _NOT_AS_EXPECTED as exc:
            raise self._unexpected(f"the metadata of {ref}", exc) from exc
        self._metadata[ref] = info
        return info

    def status(self, ref: ModelRef, timeout: float) -> Steps[list[VersionStatus]]:
        """Return the states of the model's versions; see `WireProtocol.status`."""
        answer = yield from self._json("GET", self._path(ref), ref, timeout)
        try:
            response = serving_message("GetModelStatusResponse")()
            return statuses_from_proto(json_format.ParseDict(answer, response, ignore_unknown_fields=True))
        except _NOT_AS_EXPECTED as exc:
            raise self._unexpected(f"the status of {ref}", exc) from exc

    def _path(self, ref: ModelRef) -> str:
        path = f"{self._target.path}/v1/models/{quote(ref.model, safe='')}"
        if ref.version is not None:
            return f"{path}/versions/{ref.version}"
        return path if ref.label is None else f"{path}/labels/{quote(ref.label, safe='')}"

    def _signature(self, ref: ModelRef, name: str, timeout: float) -> Steps[SignatureInfo]:
        info = self._metadata.get(ref) or (yield from self.metadata(ref, timeout))
        if name not in info.signatures:
            info = yield from self.metadata(ref, timeout)
        if name not in info.signatures:
            fix = f"see client.metadata({ref.model!r}) for the signatures"
            raise ProtocolError(f"The metadata of {ref} has no signature {name!r}.", where=str(self._target), fix=fix)
        return info.signatures[name]

    def _json(self, method: str, path: str, ref: ModelRef, timeout: float, body: bytes | None = None) -> Steps[Any]:
        request = self._request(method, path, ref, timeout, body)
        data = yield request
        answer = self._decoded(request, data)
        if isinstance(answer, dict) and "error" not in answer:
            return answer
        raise self._refusal(Answer(_OK, data, ""), answer, ref)

    def _request(self, method: str, path: str, ref: ModelRef, timeout: float, body: bytes | None) -> Request:
        is_gzipped = self._is_gzipping and body is not None and len(body) >= _WORTH_GZIP
        if is_gzipped and body is not None:
            body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        return Request(path, body, ref, timeout, method, is_read=method == "GET", is_gzipped=is_gzipped)

    def content(self, request: Request, answer: Answer) -> bytes:
        """Return the content of an answer.

        Raises:
            RequestError: the server refused the request.
        """
        if answer.status == _OK:
            return answer.body
        raise self._refusal(answer, self._decoded(request, answer.body, is_error=True), request.ref)

    def _decoded(self, request: Request, data: bytes, *, is_error: bool = False) -> Any:
        """Return the decoded JSON of an answer; of a refusal that is no JSON, the beginning of the text."""
        if _decoded_size(data) > self.max_bytes:
            where = f"{self._target}, model {request.ref}"
            raise too_long("The memory of the answer's decoded JSON", self.max_bytes, where)
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as exc:
            if is_error:
                return {"error": data[:200].decode("utf-8", "replace").strip()}
            raise self._unexpected(f"{request.method} {request.path}", exc) from exc

    def _refusal(self, refused: Answer, answer: Any, ref: ModelRef) -> RequestError:
        status, location = refused.status, refused.location
        code = _STATUS_OF_HTTP.get(status, "UNKNOWN")
        error = answer.get("error", answer) if isinstance(answer, dict) else answer
        message = error if isinstance(error, str) else arguments.shown(error)
        if len(message) > _MAX_MESSAGE:
            message = f"{message[:_MAX_MESSAGE]}… ({len(message)} characters)"
        where = f"{self._target}, model {ref}"
        error = refusal(f"HTTP {status}: {message}", code, message, ref, where, http_status=status)
        if location:
            error.fix = f"the server redirects to {arguments.shown(location)}; if that is right, give the client that address"
        if status == _UNAVAILABLE:
            error.retry_after = retry_seconds(refused.retry_after)
            return error if was_forwarded(message) else unsent(error)
        return error

    def too_long(self, request: Request) -> ProtocolError:
        """Return the error of an answer with more bytes than allowed."""
        return too_long(f"The answer to {request.method} {request.path}", self.max_bytes, str(self._target))

    def late(self, request: Request) -> DeadlineError:
        """Return the error of a request whose time is over."""
        fix = "set a longer timeout, or check whether the server is overloaded"
        return DeadlineError(f"No answer within {request.timeout:g} s.", where=str(self._target), fix=fix)

    def no_connection(self, why: str) -> ConnectionFailedError:
        """Return the error of a connection that could not be made."""
        what = f"Cannot connect to {self._target.address}: {why}"
        return unsent(ConnectionFailedError(what, where=str(self._target), fix=reachable(self._target, "REST")))

    def lost(self, why: str) -> ConnectionFailedError:
        """Return the error of a connection that broke while the request was under way."""
        return lost(self._target, why, str(self._target))

    def not_http(self, exc: Exception) -> ProtocolError:
        """Return the error of an answer that is not HTTP, or is cut."""
        what = f"{self._target.address} does not answer in HTTP ({type(exc).__name__})."
        fix = "write HOST:PORT without http:// for a gRPC port, or give the REST port (8501 by default)"
        return ProtocolError(what, where=str(self._target), fix=fix, code="TFB7003")

    def _unexpected(self, what: str, exc: Exception) -> ProtocolError:
        return ProtocolError(f"The answer to {what} cannot be read: {exc}.", where=str(self._target), fix=_NOT_THE_SERVER)


def _examples_body(signature: str, examples: Sequence[Any]) -> bytes:
    return json.dumps({"signature_name": signature, "examples": [to_json(example) for example in examples]}).encode()


def _columns(inputs: Mapping[str, Array]) -> dict[str, Any]:
    return {"inputs": {name: _encode(name, array) for name, array in inputs.items()}}


def _rows(inputs: Mapping[str, Array]) -> dict[str, Any]:
    sizes = {name: array.shape[0] if array.ndim else None for name, array in inputs.items()}
    if None in sizes.values() or len(set(sizes.values())) != 1:
        raise TensorError(
            f"The row format needs inputs of the same first dim, got {sizes}.",
            fix="use rest_format='column'",
            code="TFB7101",
        )
    encoded = {name: _encode(name, array) for name, array in inputs.items()}
    return {
        "instances": [dict(zip(encoded, row, strict=True)) for row in zip(*encoded.values(), strict=True)]
    }


def _encode(name: str, array: Array) -> Any:
    dtype = array_dtype_name(array)
    if dtype in NOT_IN_JSON:
        raise TensorError(f"The input {name!r} is {dtype}, which REST cannot carry.", fix="use gRPC", code="TFB7102")
    if dtype != "string":
        return array.tolist()
    try:
        return _encode_strings(array)
    except TensorError as exc:
        exc.what = f"The input {name!r} cannot be sent: {exc.what}"
        raise


def _encode_strings(array: Array) -> Any:
    """Encode every string as base64: bytes need it, and no text can then be mistaken for something else."""
    encoded = np.empty(array.size, np.object_)
    encoded[:] = [{"b64": base64.b64encode(string_bytes(v)).decode("ascii")} for v in array.ravel().tolist()]
    return encoded.reshape(array.shape).tolist()


def _decoded_size(data: bytes) -> int:
    """Return about how many bytes the objects of a JSON text need, from the characters of its structure."""
    lists, objects, commas, quotes = (data.count(mark) for mark in (b"[", b"{", b",", b'"'))
    text = len(data) * (1 if data.isascii() else 4)
    values = commas + lists + objects
    return text + _LIST_BYTES * lists + _OBJECT_BYTES * objects + _VALUE_BYTES * values + _QUOTE_BYTES * quotes


def _outputs(answer: Mapping[str, Any], outputs: Mapping[str, TensorInfo], row: bool) -> dict[str, Any] | None:
    """Return the JSON value of each output by name, or None if the answer has other outputs.

    The server omits the name of an output that is the only one (util/json_tensor.cc).
    """
    value = answer.get("predictions" if row else "outputs")
    if len(outputs) == 1:
        return None if value is None or _names(value, row) else dict.fromkeys(outputs, value)
    if not row:
        return value if isinstance(value, dict) and value.keys() == outputs.keys() else None
    if not isinstance(value, list) or any(not isinstance(example, dict) or example.keys() != outputs.keys() for example in value):
        return None
    return {name: [example[name] for example in value] for name in outputs} if value else None


def _names(value: Any, row: bool) -> set[str]:
    first = (value[0] if value else None) if row and isinstance(value, list) else value
    return set(first) if isinstance(first, dict) and set(first) != {"b64"} else set()


def _decode(name: str, value: Any, info: TensorInfo) -> Array:
    """Return a JSON value as an array of the signature's dtype."""
    if info.dtype in NOT_IN_JSON:
        raise TensorError(
            f"The output {name!r} is {info.dtype}, which REST cannot carry.", fix="use gRPC", code="TFB7102"
        )
    try:
        array = _decode_strings(np.array(value, np.object_)) if info.dtype == "string" else np.array(value, info.dtype)
        return _restore_empty(array, info)
    except (ValueError, TypeError, OverflowError, KeyError) as exc:
        what = f"The output {name!r} is not a {info.dtype} tensor: {str(exc).rstrip('.')}."
        raise ProtocolError(what, fix=_NOT_THE_SERVER) from exc


def _decode_strings(array: Array) -> Array:
    flat = np.empty(array.size, np.object_)
    flat[:] = [
        base64.b64decode(v["b64"]) if isinstance(v, dict) else _text_bytes(v) for v in array.ravel().tolist()
    ]
    return flat.reshape(array.shape)


def _text_bytes(value: object) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"{arguments.shown(value)} is not a text")
    return value.encode()


def _restore_empty(array: Array, info: TensorInfo) -> Array:
    """Complete the shape of an empty array from the signature: `[]` does not show the dims after the empty one."""
    if array.size or info.dims is None or array.ndim >= len(info.dims):
        return array
    dims = [*array.shape, *(size or 0 for size in info.dims[array.ndim :])]
    return array.reshape(dims) if math.prod(dims) == 0 else array

"""TensorFlow Serving over REST, with the standard library's HTTP client.

JSON carries no dtypes: answers get those of the signature's metadata, which is asked once a model, version
or label, and again when an answer has other outputs. JSON cannot carry float16, bfloat16, uint16 (TensorFlow
Serving refuses them) and complex numbers; 64-bit integers and every float32 and float64 come through
exactly.
"""

from __future__ import annotations

import base64
import http.client
import json
import math
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
from google.protobuf import json_format

from serving.client.examples import Classes, classes_of_json, to_json, values_of_json
from serving.client.model_info import (
    ModelInfo,
    SignatureInfo,
    TensorInfo,
    VersionStatus,
    signatures_from_proto,
    statuses_from_proto,
)
from serving.client.transport import ModelRef, Target, Verb, hint
from serving.errors import (
    ConnectionFailedError,
    DeadlineError,
    ProtocolError,
    RequestError,
    ServingError,
    TensorError,
)
from serving.protocol.messages import serving_message
from serving.protocol.tensors import Array, array_dtype_name

NOT_IN_JSON = ("float16", "bfloat16", "uint16", "complex64", "complex128")
"""dtypes that TensorFlow Serving's JSON does not carry."""

_STATUS_OF_HTTP = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409:
    "ABORTED", 412: "FAILED_PRECONDITION", 413: "RESOURCE_EXHAUSTED", 429: "RESOURCE_EXHAUSTED", 499:
    "CANCELLED", 500: "INTERNAL", 501: "UNIMPLEMENTED", 502: "UNAVAILABLE", 503: "UNAVAILABLE", 504:
    "DEADLINE_EXCEEDED",
}  # fmt: skip
"""The likeliest gRPC code behind an HTTP status: several codes share one."""


class RestTransport:
    """One server's REST port; a kept-alive connection a thread.

    Args:
        row: send `instances` (one object an example) instead of `inputs` (one list a tensor).
        root_certificates: PEM of the authority to trust, for an `https://` target; None: the system's.
    """

    def __init__(self, target: Target, *, row: bool = False, root_certificates: bytes | None = None) -> None:
        self._target = target
        self._row = row
        self._certificates = root_certificates
        self._local = threading.local()
        self._connections: list[http.client.HTTPConnection] = []
        self._known: dict[ModelRef, ModelInfo] = {}

    def predict(
        self, ref: ModelRef, signature: str, inputs: Mapping[str, Array], timeout: float
    ) -> dict[str, Array]:
        body = self._predict_body(signature, inputs)
        answer = self._json("POST", self._path(ref) + ":predict", ref, timeout, body)
        outputs = self._signature(ref, signature, timeout).outputs
        found = _outputs(answer, outputs, self._row)
        if found is None:  # another version answers now: learn its signature
            self._known.pop(ref, None)
            outputs = self._signature(ref, signature, timeout).outputs
            found = _outputs(answer, outputs, self._row)
        if found is None:
            raise ProtocolError(
                f"The answer of {ref} does not have the outputs {sorted(outputs)}.", where=str(self._target)
            )
        return {name: _decode(name, found[name], info) for name, info in outputs.items()}

    def prepare(
        self, ref: ModelRef, signature: str, inputs: Mapping[str, Array], timeout: float
    ) -> Callable[[], object]:
        return self._again("Predict", self._predict_body(signature, inputs), ref, timeout)

    def prepare_examples(
        self, verb: Verb, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float
    ) -> Callable[[], object]:
        return self._again(verb, _examples_body(signature, examples), ref, timeout)

    def _again(self, verb: Verb, body: bytes, ref: ModelRef, timeout: float) -> Callable[[], object]:
        path = f"{self._path(ref)}:{verb.lower()}"

        def call() -> object:
            status, data = self._exchange("POST", path, body, timeout)
            # An error is rare enough to be decoded.
            return data if status == 200 else self._json("POST", path, ref, timeout, body)

        return call

    def _predict_body(self, signature: str, inputs: Mapping[str, Array]) -> bytes:
        body = {"signature_name": signature, **(_rows(inputs) if self._row else _columns(inputs))}
        return json.dumps(body).encode()

    def classify(self, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float) -> Classes:
        return classes_of_json(self._infer("classify", ref, signature, examples, timeout))

    def regress(self, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float) -> list[float]:
        return values_of_json(self._infer("regress", ref, signature, examples, timeout))

    def _infer(self, verb: str, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float) -> Any:
        return self._json("POST", f"{self._path(ref)}:{verb}", ref, timeout, _examples_body(signature, examples))

    def metadata(self, ref: ModelRef, timeout: float) -> ModelInfo:
        answer = self._json("GET", self._path(ref) + "/metadata", ref, timeout)
        try:
            signatures = json_format.ParseDict(
                answer["metadata"]["signature_def"],
                serving_message("SignatureDefMap")(),
                ignore_unknown_fields=True,
            )
            spec = answer["model_spec"]
            info = ModelInfo(spec["name"], int(spec["version"]), signatures_from_proto(signatures))
        except (KeyError, TypeError, ValueError, json_format.ParseError) as exc:
            raise self._unexpected(f"the metadata of {ref}", exc) from exc
        self._known[ref] = info
        return info

    def status(self, ref: ModelRef, timeout: float) -> list[VersionStatus]:
        answer = self._json("GET", self._path(ref), ref, timeout)
        try:
            response = serving_message("GetModelStatusResponse")()
            return statuses_from_proto(json_format.ParseDict(answer, response, ignore_unknown_fields=True))
        except json_format.ParseError as exc:
            raise self._unexpected(f"the status of {ref}", exc) from exc

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def _path(self, ref: ModelRef) -> str:
        path = f"{self._target.path}/v1/models/{quote(ref.model, safe='')}"
        if ref.version is not None:
            return f"{path}/versions/{ref.version}"
        return path if ref.label is None else f"{path}/labels/{quote(ref.label, safe='')}"

    def _signature(self, ref: ModelRef, name: str, timeout: float) -> SignatureInfo:
        info = self._known.get(ref) or self.metadata(ref, timeout)
        if name not in info.signatures:
            info = self.metadata(ref, timeout)
        if name not in info.signatures:
            raise ProtocolError(f"The metadata of {ref} has no signature {name!r}.", where=str(self._target))
        return info.signatures[name]

    def _json(self, method: str, path: str, ref: ModelRef, timeout: float, body: bytes | None = None) -> Any:
        status, data = self._exchange(method, path, body, timeout)
        try:
            answer = json.loads(data)
        except ValueError as exc:
            if status == 200:
                raise self._unexpected(f"{method} {path}", exc) from exc
            answer = {"error": data[:200].decode("utf-8", "replace").strip()}
        if status == 200 and isinstance(answer, dict) and "error" not in answer:
            return answer
        message = str(answer.get("error", answer) if isinstance(answer, dict) else answer)
        code = _STATUS_OF_HTTP.get(status, "UNKNOWN")
        raise RequestError(
            f"HTTP {status}: {message}",
            status=code,
            http_status=status,
            where=f"{self._target}, model {ref}",
            fix=hint(code, message, ref),
        )

    def _exchange(self, method: str, path: str, body: bytes | None, timeout: float) -> tuple[int, bytes]:
        connection, reused = self._connection(timeout)
        try:
            try:
                return _send(connection, method, path, body)
            except (ConnectionResetError, BrokenPipeError):
                if not reused:
                    raise
                # The server has closed a connection that lay idle: that says nothing about this request.
                connection.close()
                return _send(connection, method, path, body)
        except (OSError, http.client.HTTPException) as exc:
            connection.close()
            raise self._connection_error(exc, timeout) from exc

    def _connection_error(self, exc: OSError | http.client.HTTPException, timeout: float) -> ServingError:
        where = str(self._target)
        if isinstance(exc, TimeoutError):
            fix = "give a larger timeout, or see whether the server is overloaded"
            return DeadlineError(f"No answer within {timeout:g} s.", where=where, fix=fix)
        if isinstance(exc, OSError):
            what = f"No connection to {self._target.address}: {exc.strerror or exc}"
            fix = "is the server running, and is this its REST port?"
            return ConnectionFailedError(what, where=where, fix=fix)
        what = f"The answer of {self._target.address} is not HTTP ({type(exc).__name__})."
        fix = "if this is the gRPC port: use HOST:PORT without http://, or the REST port (8501 by default)"
        return ProtocolError(what, where=where, fix=fix)

    def _connection(self, timeout: float) -> tuple[http.client.HTTPConnection, bool]:
        """This thread's connection, and whether it is already open."""
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._new_connection()
            self._connections.append(connection)
        connection.timeout = timeout
        if connection.sock is None:
            return connection, False
        connection.sock.settimeout(timeout)
        return connection, True

    def _new_connection(self) -> http.client.HTTPConnection:
        if not self._target.tls:
            return http.client.HTTPConnection(self._target.address)
        cadata = self._certificates.decode("ascii") if self._certificates else None
        return http.client.HTTPSConnection(
            self._target.address, context=ssl.create_default_context(cadata=cadata)
        )

    def _unexpected(self, what: str, exc: Exception) -> ProtocolError:
        fix = "is this TensorFlow Serving's REST port, and not a proxy in front of it?"
        return ProtocolError(f"The answer to {what} cannot be read: {exc}.", where=str(self._target), fix=fix)


def _send(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None
) -> tuple[int, bytes]:
    connection.request(method, path, body, {} if body is None else {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, response.read()


def _examples_body(signature: str, examples: Sequence[Any]) -> bytes:
    return json.dumps({"signature_name": signature, "examples": [to_json(example) for example in examples]}).encode()


def _columns(inputs: Mapping[str, Array]) -> dict[str, Any]:
    return {"inputs": {name: _encode(name, array) for name, array in inputs.items()}}


def _rows(inputs: Mapping[str, Array]) -> dict[str, Any]:
    sizes = {name: array.shape[0] if array.ndim else None for name, array in inputs.items()}
    if None in sizes.values() or len(set(sizes.values())) != 1:
        raise TensorError(
            f"The row format needs inputs with one equal first dim, got {sizes}.",
            fix="use rest_format='column'",
        )
    encoded = {name: _encode(name, array) for name, array in inputs.items()}
    return {
        "instances": [dict(zip(encoded, row, strict=True)) for row in zip(*encoded.values(), strict=True)]
    }


def _encode(name: str, array: Array) -> Any:
    dtype = array_dtype_name(array)
    if dtype in NOT_IN_JSON:
        raise TensorError(f"The input {name!r} is {dtype}, which REST cannot carry.", fix="use gRPC")
    return _encode_strings(array.tolist()) if dtype == "string" else array.tolist()


def _encode_strings(value: Any) -> Any:
    """Base64 for every string: bytes need it, and a text that looks like anything else cannot be mistaken."""
    if isinstance(value, list):
        return [_encode_strings(item) for item in value]
    data = value.encode() if isinstance(value, str) else bytes(value)
    return {"b64": base64.b64encode(data).decode("ascii")}


def _outputs(
    answer: Mapping[str, Any], outputs: Mapping[str, TensorInfo], row: bool
) -> dict[str, Any] | None:
    """The JSON of each output by name, None if the answer has others. A lone one stands without its name."""
    value = answer.get("predictions" if row else "outputs")
    if len(outputs) == 1:
        return None if value is None or _names(value, row) else dict.fromkeys(outputs, value)
    if _names(value, row) != set(outputs):
        return None
    if row:
        return {name: [example[name] for example in value or []] for name in outputs}
    return dict(value or {})


def _names(value: Any, row: bool) -> set[str]:
    first = (value[0] if value else None) if row and isinstance(value, list) else value
    return set(first) if isinstance(first, dict) and set(first) != {"b64"} else set()


def _decode(name: str, value: Any, info: TensorInfo) -> Array:
    """JSON as an array of the signature's dtype."""
    if info.dtype in NOT_IN_JSON:
        raise TensorError(f"The output {name!r} is {info.dtype}, which REST cannot carry.", fix="use gRPC")
    try:
        if info.dtype == "string":
            array = _decode_strings(np.array(value, np.object_))
        else:
            array = np.array(value, info.dtype)
    except (ValueError, TypeError, OverflowError) as exc:
        raise ProtocolError(f"The output {name!r} is no {info.dtype} tensor: {exc}.") from exc
    return _restore_empty(array, info)


def _decode_strings(array: Array) -> Array:
    flat = np.empty(array.size, np.object_)
    flat[:] = [
        base64.b64decode(v["b64"]) if isinstance(v, dict) else str(v).encode() for v in array.ravel().tolist()
    ]
    return flat.reshape(array.shape)


def _restore_empty(array: Array, info: TensorInfo) -> Array:
    """`[]` says nothing of the dims behind the empty one: take those from the signature."""
    if array.size or info.dims is None or array.ndim >= len(info.dims):
        return array
    dims = [*array.shape, *(size or 0 for size in info.dims[array.ndim :])]
    return array.reshape(dims) if math.prod(dims) == 0 else array

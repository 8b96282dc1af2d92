"""TensorFlow Serving over REST, with the standard library's HTTP client.

JSON carries no dtypes: answers get the dtypes of the signature's metadata, which is requested once per model, version or
label, and again if an answer has other outputs. JSON cannot carry float16, bfloat16 and uint16 (TensorFlow Serving refuses
them) or complex numbers; 64-bit integers and all float32 and float64 values are transferred exactly.
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

from serving.client.examples import Classes, classes_from_json, to_json, values_from_json
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
"""Dtypes that TensorFlow Serving's JSON cannot carry."""

_STATUS_OF_HTTP = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED",
    412: "FAILED_PRECONDITION", 413: "RESOURCE_EXHAUSTED", 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED",
    500: "INTERNAL", 501: "UNIMPLEMENTED", 502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
"""The most likely gRPC code for an HTTP status; several codes share a status."""


class RestTransport:
    """Kept-alive connections to one server's REST port, one per thread.

    Args:
        target: the server's address.
        row: send `instances` (one object per example) instead of `inputs` (one list per tensor).
        root_certificates: PEM of the certificate authority to trust, for an `https://` target; None trusts the system's.
    """

    def __init__(self, target: Target, *, row: bool = False, root_certificates: bytes | None = None) -> None:
        self._target = target
        self._row = row
        self._certificates = root_certificates
        self._local = threading.local()
        self._connections: list[http.client.HTTPConnection] = []
        self._metadata: dict[ModelRef, ModelInfo] = {}

    def predict(
        self, ref: ModelRef, signature: str, inputs: Mapping[str, Array], timeout: float
    ) -> dict[str, Array]:
        """Run a signature; see `Transport.predict`."""
        body = self._predict_body(signature, inputs)
        answer = self._json("POST", self._path(ref) + ":predict", ref, timeout, body)
        outputs = self._signature(ref, signature, timeout).outputs
        values = _outputs(answer, outputs, self._row)
        if values is None:  # the server has switched to another version: request its signature
            self._metadata.pop(ref, None)
            outputs = self._signature(ref, signature, timeout).outputs
            values = _outputs(answer, outputs, self._row)
        if values is None:
            raise ProtocolError(
                f"The answer of {ref} does not have exactly the outputs {sorted(outputs)}.", where=str(self._target)
            )
        return {name: _decode(name, values[name], info) for name, info in outputs.items()}

    def prepare(
        self, ref: ModelRef, signature: str, inputs: Mapping[str, Array], timeout: float
    ) -> Callable[[], object]:
        """Encode a predict request once; see `Transport.prepare`."""
        return self._prepared("Predict", self._predict_body(signature, inputs), ref, timeout)

    def prepare_examples(
        self, verb: Verb, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float
    ) -> Callable[[], object]:
        """Encode a classify or regress request once; see `Transport.prepare_examples`."""
        return self._prepared(verb, _examples_body(signature, examples), ref, timeout)

    def _prepared(self, verb: Verb, body: bytes, ref: ModelRef, timeout: float) -> Callable[[], object]:
        path = f"{self._path(ref)}:{verb.lower()}"

        def call() -> object:
            status, data = self._exchange("POST", path, body, timeout)
            # Errors are rare: the request is sent once more, to decode the answer.
            return data if status == 200 else self._json("POST", path, ref, timeout, body)

        return call

    def _predict_body(self, signature: str, inputs: Mapping[str, Array]) -> bytes:
        body = {"signature_name": signature, **(_rows(inputs) if self._row else _columns(inputs))}
        return json.dumps(body).encode()

    def classify(self, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float) -> Classes:
        """Return the classes of each example; see `Transport.classify`."""
        return classes_from_json(self._infer("classify", ref, signature, examples, timeout))

    def regress(self, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float) -> list[float]:
        """Return one number per example; see `Transport.regress`."""
        return values_from_json(self._infer("regress", ref, signature, examples, timeout))

    def _infer(self, verb: str, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float) -> Any:
        return self._json("POST", f"{self._path(ref)}:{verb}", ref, timeout, _examples_body(signature, examples))

    def metadata(self, ref: ModelRef, timeout: float) -> ModelInfo:
        """Return the signatures of a version; see `Transport.metadata`."""
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
        self._metadata[ref] = info
        return info

    def status(self, ref: ModelRef, timeout: float) -> list[VersionStatus]:
        """Return the states of the model's versions; see `Transport.status`."""
        answer = self._json("GET", self._path(ref), ref, timeout)
        try:
            response = serving_message("GetModelStatusResponse")()
            return statuses_from_proto(json_format.ParseDict(answer, response, ignore_unknown_fields=True))
        except json_format.ParseError as exc:
            raise self._unexpected(f"the status of {ref}", exc) from exc

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in self._connections:
            connection.close()

    def _path(self, ref: ModelRef) -> str:
        path = f"{self._target.path}/v1/models/{quote(ref.model, safe='')}"
        if ref.version is not None:
            return f"{path}/versions/{ref.version}"
        return path if ref.label is None else f"{path}/labels/{quote(ref.label, safe='')}"

    def _signature(self, ref: ModelRef, name: str, timeout: float) -> SignatureInfo:
        info = self._metadata.get(ref) or self.metadata(ref, timeout)
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
                # The server closed an idle connection, which has nothing to do with this request: send it again.
                connection.close()
                return _send(connection, method, path, body)
        except (OSError, http.client.HTTPException) as exc:
            connection.close()
            raise self._connection_error(exc, timeout) from exc

    def _connection_error(self, exc: OSError | http.client.HTTPException, timeout: float) -> ServingError:
        where = str(self._target)
        if isinstance(exc, TimeoutError):
            fix = "set a longer timeout, or check whether the server is overloaded"
            return DeadlineError(f"No answer within {timeout:g} s.", where=where, fix=fix)
        if isinstance(exc, OSError):
            what = f"Cannot connect to {self._target.address}: {exc.strerror or exc}"
            fix = "check that the server is running and that this is its REST port"
            return ConnectionFailedError(what, where=where, fix=fix)
        what = f"{self._target.address} does not answer in HTTP ({type(exc).__name__})."
        fix = "write HOST:PORT without http:// for a gRPC port, or give the REST port (8501 by default)"
        return ProtocolError(what, where=where, fix=fix)

    def _connection(self, timeout: float) -> tuple[http.client.HTTPConnection, bool]:
        """Return this thread's connection and whether it is already open."""
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
        fix = "check that this is TensorFlow Serving's REST port, and that no proxy in front of it answers"
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
            f"The row format needs inputs of the same first dim, got {sizes}.",
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
    """Encode every string as base64: bytes need it, and no text can then be mistaken for something else."""
    if isinstance(value, list):
        return [_encode_strings(item) for item in value]
    data = value.encode() if isinstance(value, str) else bytes(value)
    return {"b64": base64.b64encode(data).decode("ascii")}


def _outputs(
    answer: Mapping[str, Any], outputs: Mapping[str, TensorInfo], row: bool
) -> dict[str, Any] | None:
    """Return the JSON value of each output by name, or None if the answer has other outputs.

    The server omits the name of an output that is the only one (util/json_tensor.cc).
    """
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
    """Return a JSON value as an array of the signature's dtype."""
    if info.dtype in NOT_IN_JSON:
        raise TensorError(f"The output {name!r} is {info.dtype}, which REST cannot carry.", fix="use gRPC")
    try:
        if info.dtype == "string":
            array = _decode_strings(np.array(value, np.object_))
        else:
            array = np.array(value, info.dtype)
    except (ValueError, TypeError, OverflowError) as exc:
        raise ProtocolError(f"The output {name!r} is not a {info.dtype} tensor: {exc}.") from exc
    return _restore_empty(array, info)


def _decode_strings(array: Array) -> Array:
    flat = np.empty(array.size, np.object_)
    flat[:] = [
        base64.b64decode(v["b64"]) if isinstance(v, dict) else str(v).encode() for v in array.ravel().tolist()
    ]
    return flat.reshape(array.shape)


def _restore_empty(array: Array, info: TensorInfo) -> Array:
    """Complete the shape of an empty array from the signature: `[]` does not show the dims after the empty one."""
    if array.size or info.dims is None or array.ndim >= len(info.dims):
        return array
    dims = [*array.shape, *(size or 0 for size in info.dims[array.ndim :])]
    return array.reshape(dims) if math.prod(dims) == 0 else array

"""The Open Inference Protocol over REST, below /v2 (--open_inference_protocol); TensorFlow Serving has no such paths."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote

from serving.protocol.open_inference.json_codec import (
    DAMAGED,
    InferenceHead,
    read_flag,
    read_head,
    read_tensors,
    split_body,
    write_answer,
)
from serving.protocol.open_inference.tensors import Tensor
from serving.protocol.status import Code, StatusError, invalid_argument
from serving.server.methods.infer import (
    SIGNATURE_PARAMETER,
    InferenceCall,
    Inferred,
    infer,
    model_spec,
    signature_name,
)
from serving.server.methods.inference_info import (
    EXTENSIONS,
    NAME,
    ModelMetadata,
    is_model_ready,
    is_server_ready,
    model_metadata,
    repository_index,
    server_version,
)
from serving.server.rest_api.calls import Answer, Call, Result, Services, is_large
from serving.server.rest_api.codec_process import Cancellation, Lease
from serving.server.rest_api.errors import check_sizes
from serving.server.rest_api.exchange import SMALL_BODY, RestRequest
from serving.server.rest_api.gzip_body import is_gzipped
from serving.server.rest_api.targets import ModelTarget

_PATHS = re.compile(
    r"/v2(?:/(?P<health>health/(?:live|ready))|/(?P<index>repository/index)"
    r"|/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<what>ready|infer))?)?/?"
)
HEADER_LENGTH = "Inference-Header-Content-Length"
OPENAPI = "/openapi.json"
"""The path of the document that describes the REST interface."""
_BINARY = {"Content-Type": "application/octet-stream"}


class HttpError(StatusError):
    """A request is refused with an HTTP status that no code stands for."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(Code.INVALID_ARGUMENT, message)
        self._status = status

    @property
    def http_status(self) -> int:
        """The HTTP status."""
        return self._status.value


def is_inference_path(path: str) -> bool:
    """Return whether a path belongs to the protocol."""
    return path == "/v2" or path.startswith("/v2/")


class OpenInferenceCall(Call):
    """A call of the protocol.

    Args:
        services: what the call works with.
        request: the request.
        target: its path and query.
        cancellation: stops the work for it.
    """

    is_measured = False

    def __init__(
        self, services: Services, request: RestRequest, target: ModelTarget, cancellation: Cancellation
    ) -> None:
        super().__init__(services, request, cancellation)
        self._target = target

    def answer(self) -> Answer:
        """Return the body of the reply, or the outputs to write."""
        match = _PATHS.fullmatch(self._target.path)
        if match is None:
            raise HttpError(HTTPStatus.NOT_FOUND, f"The Open Inference Protocol has no path {self._target.path}.")
        is_posted = bool(match["index"] or match["what"] == "infer")
        if self.request.method != ("POST" if is_posted else "GET"):
            raise HttpError(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"{self._target.path} takes {'POST' if is_posted else 'GET'}, not {self.request.method}.",
            )
        if match["model"]:
            self.model = unquote(match["model"], errors="surrogateescape")
            return self._answer_model(unquote(match["version"] or "", errors="surrogateescape"), match["what"])
        if match["index"]:
            return self._index()
        if match["health"] == "health/live":
            return _json({"live": True})
        if match["health"]:
            ready = is_server_ready(self.core)
            return _json({"ready": ready}) if ready else _unavailable({"ready": False})
        return _json({"name": NAME, "version": server_version(), "extensions": EXTENSIONS})

    def _answer_model(self, version: str, what: str | None) -> Answer:
        if what == "infer":
            self.is_measured = True
            self.api = "predict"
            return self._infer(version)
        if what == "ready":
            ready = is_model_ready(self.core, self.model, version)
            members = {"name": self.model, "ready": ready}
            return _json(members) if ready else _unavailable(members)
        asked = parse_qs(self._target.rest.partition("#")[0].removeprefix("?")).get(SIGNATURE_PARAMETER, [""])
        return _json(_metadata(model_metadata(self.core, self.model, version, signature_name(asked[-1]))))

    def _index(self) -> bytes:
        body = self.small_body()
        ready = bool(body) and read_flag(body, "ready", self.core.options.max_nesting)
        return json.dumps(list(repository_index(self.core, ready=ready))).encode()

    def _infer(self, version: str) -> Answer:
        with ExitStack() as lent:
            head, tensors = self._read(lent)
            lent.close()
            arrays = {tensor.name: tensor.array for tensor in tensors}
            check_sizes(arrays, self.core.options)
            self.cancellation.check()
            spec = model_spec(self.core, self.model, version)
            call = InferenceCall(spec, head.parameters, arrays, head.outputs)
            binary = _binary_outputs(head)
            inferred = infer(self.core, call, arrays.__getitem__, self.request_log)
        return self._written(head, inferred, binary)

    def _read(self, lent: ExitStack) -> tuple[InferenceHead, Sequence[Tensor]]:
        encoding = self.request.headers.get("content-encoding", "identity")
        if encoding not in ("identity", "gzip", ""):
            raise HttpError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                f"Bodies with Content-Encoding {encoding!r} are not supported; send gzip or none.",
            )
        length = self._header_length()
        nesting = self.core.options.max_nesting
        gzipped = is_gzipped(self.request.headers)
        if self.codecs is None or not self.request.is_large:
            body = self.small_body()
            if gzipped and not body:
                raise invalid_argument(DAMAGED)
            head, binary = split_body(body, length)
            parsed = read_head(head, nesting)
            return parsed, read_tensors(parsed, binary)
        if not gzipped and length is not None and length <= SMALL_BODY:
            head, binary = split_body(self.request.body, length)
            parsed = read_head(head, nesting)
            if parsed.has_plain_numbers:
                return parsed, read_tensors(parsed, binary)
        return self.lend(lent).read_inference(self.request.body, length, gzipped=gzipped)

    def _header_length(self) -> int | None:
        text = self.request.headers.get(HEADER_LENGTH.lower())
        if text is None:
            return None
        if not (text.isascii() and text.isdecimal() and len(text) < 20):
            raise invalid_argument(f"The header {HEADER_LENGTH} must be a number of bytes, got {text!r}.")
        return int(text)

    def _written(self, head: InferenceHead, inferred: Inferred, binary: Callable[[str], bool]) -> Answer:
        members = {"model_name": self.model, "model_version": str(inferred.version)}
        if head.id:
            members["id"] = head.id
        tensors = [Tensor.of(name, array) for name, array in inferred.outputs.items()]
        names = [tensor.name for tensor in tensors if binary(tensor.name)]
        slow = {tensor.name: tensor.values for tensor in tensors if tensor.name not in names or tensor.datatype == "BYTES"}
        if self.codecs is None or not is_large(slow):
            return _reply(*write_answer(members, tensors, names))
        datatypes = {tensor.name: tensor.datatype for tensor in tensors}

        def write(lease: Lease, waiting: Mapping[str, Any]) -> Result:
            return _reply(*lease.write_inference(members, waiting, datatypes, names))

        return self.later({tensor.name: tensor.values for tensor in tensors}, write)


def _binary_outputs(head: InferenceHead) -> Callable[[str], bool]:
    """Return a function that tells whether an output is written as binary tensor.

    Raises:
        StatusError: INVALID_ARGUMENT: a parameter for it is not a boolean.
    """
    default = _boolean(head.parameters, "binary_data_output", False)
    chosen = {output.name: _boolean(output.parameters, "binary_data", default) for output in head.outputs}
    return lambda name: chosen.get(name, default)


def _boolean(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise invalid_argument(f"The parameter {name} must be true or false.")
    return value


def _metadata(metadata: ModelMetadata) -> dict[str, Any]:
    tensors = {
        side: [dict(zip(("name", "datatype", "shape"), tensor, strict=True)) for tensor in getattr(metadata, side)]
        for side in ("inputs", "outputs")
    }
    return {**metadata._asdict(), **tensors}


def _json(members: Mapping[str, Any]) -> bytes:
    return json.dumps(members, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _unavailable(members: Mapping[str, Any]) -> Result:
    return Result(Code.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE.value, _json(members))


def _reply(body: bytes | bytearray, json_length: int | None) -> Result:
    headers = {} if json_length is None else {**_BINARY, HEADER_LENGTH: str(json_length)}
    return Result(Code.OK, HTTPStatus.OK.value, body, headers=headers)

"""The REST API: answer a request's method, path and body (model_servers/http_rest_api_handler.cc)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, NamedTuple, overload
from urllib.parse import unquote

from serving.protocol.json_codec import PredictBody, read_predict, write_error, write_predictions
from serving.protocol.json_examples import read_examples, write_classifications, write_regressions
from serving.protocol.messages import DEFAULT_SIGNATURE, serving_message
from serving.protocol.status import HTTP_STATUS, Code, StatusError, invalid_argument
from serving.protocol.tensors import Array
from serving.server.methods.examples import classify, regress
from serving.server.methods.model_info import SIGNATURE_DEF, metadata_json, model_metadata, model_status, status_json
from serving.server.methods.model_spec import Method, answer_with_version
from serving.server.methods.predict import predict_messages, run_signature
from serving.server.models.core import ServerCore
from serving.server.models.sources import parse_version
from serving.server.observability.log_lines import log_request, request_id
from serving.server.observability.metrics import Metrics
from serving.server.observability.request_log import RequestLog
from serving.server.observability.tracing import Trace, attached, mark
from serving.server.rest_api.answers import HeldAnswer
from serving.server.rest_api.codec_process import Cancellation, CodecProcesses, Lease, RemoteBody
from serving.server.rest_api.errors import LimitError, TooLargeError, check_sizes, shortened
from serving.server.rest_api.frames import is_sendable
from serving.server.rest_api.gzip_body import MAX_UNPACKED, claimed_size, is_gzipped, unpacked
from serving.server.rest_api.playground import PATH as PLAYGROUND
from serving.server.rest_api.playground import Playground
from serving.server.rest_api.raw_names import RawNames
from serving.server.rest_api.targets import ModelTarget, read_target
from serving.texts import is_utf8

# Matched against the raw path with its query string; names are percent-decoded afterwards.
_API = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)
_VERSION = r"(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?"
_PREDICTION = re.compile(rf"/v1/models/([^/:]+){_VERSION}:(classify|regress|predict)", re.IGNORECASE)
_MODEL = re.compile(rf"/v1/models(?:/([^/:]+))?{_VERSION}(?:/(metadata))?", re.IGNORECASE)

SMALL_BODY = 2**18
"""Most bytes of an unpacked body that a thread of the server reads. This takes less than 10 ms for numbers."""
SMALL_ANSWER = 2**15
"""Most values of an answer that a thread of the server writes as JSON."""
_STRING_BYTES = 16
"""Bytes of a string that take as long to write as a value."""

_JSON = {"Content-Type": "application/json"}
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
_METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"})
"""Methods that reach the API (util/net_http/server/internal/evhttp_server.cc), which handles only GET, POST and OPTIONS."""


@dataclass(frozen=True)
class RestRequest:
    """An HTTP request.

    Attributes:
        method: the HTTP method.
        path: the target in the request line: not decoded, with its query string.
        headers: the headers, names in lower case.
        body: the body as it was sent, possibly gzipped.
        trace: the request's trace, or None.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | bytearray = b""
    trace: Trace | None = None

    @property
    def unpacked_size(self) -> int:
        """Bytes of the body without gzip; known without unpacking it."""
        return claimed_size(self.body) if is_gzipped(self.headers) else len(self.body)

    @property
    def is_large(self) -> bool:
        """Whether the body must be read in a process of its own."""
        return max(len(self.body), self.unpacked_size) > SMALL_BODY


@dataclass(frozen=True)
class Reply:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes | bytearray = b""


@dataclass(frozen=True)
class Unwritten:
    """A large answer that is still to be written as JSON.

    Attributes:
        held: counts the bytes of its tensors.
        write: waits for a process that is free, writes the answer there and returns the reply.
    """

    held: HeldAnswer
    write: Callable[[], Reply]


def error_page(status: HTTPStatus) -> Reply:
    """Return the page with which the HTTP server itself (libevent in the real server) ends a connection."""
    text = status.phrase
    page = f"<HTML><HEAD>\n<TITLE>{status.value} {text}</TITLE>\n</HEAD><BODY>\n<H1>{text}</H1>\n</BODY></HTML>\n"
    return Reply(status.value, {"Content-Type": "text/html", "Connection": "close"}, page.encode())


@dataclass(frozen=True)
class RestApi:
    """Answers HTTP requests.

    Attributes:
        core: the models.
        metrics: counts the requests.
        metrics_path: path of the metrics; None turns it off.
        playground: the page at `/`; None answers `/` with 404.
        request_log: logs a sample of the requests; None turns that off.
        codecs: processes for large bodies and answers; None reads and writes all of them in the calling thread.
    """

    core: ServerCore
    metrics: Metrics
    metrics_path: str | None = None
    playground: Playground | None = None
    request_log: RequestLog | None = None
    codecs: CodecProcesses | None = None

    def answer(self, request: RestRequest) -> Reply:
        """Answer a request. Errors are answers too; nothing is raised."""
        reply = self.begin(request, Cancellation())
        return reply if isinstance(reply, Reply) else reply.write()

    def begin(self, request: RestRequest, cancellation: Cancellation) -> Reply | Unwritten:
        """Answer a request like `answer`, but return before a large answer is written.

        Args:
            request: the request. If it is large, this waits for a process that is free.
            cancellation: stops the work for the request.

        Returns:
            The reply, or how to write it.
        """
        if request.method not in _METHODS:
            return error_page(HTTPStatus.NOT_IMPLEMENTED)
        target = read_target(request.path)
        if target is None:
            return error_page(HTTPStatus.BAD_REQUEST)
        request = replace(request, path=target.text)
        if target.path == self.metrics_path:
            return self._answer_metrics(target)
        if self.playground and request.path == PLAYGROUND and request.method in ("GET", "HEAD"):
            return Reply(200, *self.playground.answer(request.headers))
        if not _API.fullmatch(request.path):
            return error_page(HTTPStatus.NOT_FOUND)
        if request.method == "OPTIONS":
            return self._answer_preflight(request)
        call = _Call(self, request, cancellation)
        result = call.run(call.answer)
        if isinstance(result, _Result):
            return self._reply(call, result)
        return Unwritten(result.held, lambda: self._reply(call, call.run(result.write)))

    def _reply(self, call: _Call, result: _Result) -> Reply:
        code, body = result.code, result.body
        seconds = time.monotonic() - call.started
        self.metrics.record(call.model, call.api, "REST", code, seconds)
        headers = self._with_cors(_JSON)
        if self.core.options.log_format == "json":
            identity = request_id(call.request.headers.items())
            headers = {**headers, "X-Request-Id": identity}
            log_request(
                identity, model=call.model, api=call.api or "describe", entrypoint="REST", status=code.name, seconds=seconds,
                error="" if code is Code.OK else body.decode("utf-8", "replace"),
            )  # fmt: skip
        if result.closes:
            headers = {**headers, "Connection": "close"}
        return Reply(result.status, headers, body)

    def _answer_metrics(self, target: ModelTarget) -> Reply:
        plain = {"Content-Type": "text/plain"}
        if target.rest:
            return Reply(400, plain, shortened(f"Unexpected path: {target.text}. Should be {target.path}").encode())
        return Reply(200, plain, self.metrics.text().encode())

    def timed_out(self) -> Reply:
        """Return the reply to a request that took longer than --rest_api_timeout_in_ms.

        The connection ends with it: the rest of the body must not be read as a request, and a client that does not read its
        answers must not keep it.
        """
        return self.refused(HTTPStatus.GATEWAY_TIMEOUT, "Timed out waiting for notification")

    def refused(self, status: HTTPStatus, error: str) -> Reply:
        """Return the reply to a request that is not read or answered; the connection ends with it."""
        return Reply(status.value, {**self._with_cors(_JSON), "Connection": "close"}, write_error(shortened(error)))

    def _answer_preflight(self, request: RestRequest) -> Reply:
        has_origin = re.search("https?://", request.headers.get("origin", ""))
        headers = self._with_cors({"Content-Type": "text/html; charset=ISO-8859-1"})
        return Reply(200 if has_origin else HTTP_STATUS[Code.FAILED_PRECONDITION], headers)

    def _with_cors(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        return {**headers, **_CORS} if self.core.options.rest_cors else headers


class _ExampleMethod(NamedTuple):
    """Classify or Regress over REST."""

    rpc: str
    request: str
    answer: Method
    write: Callable[[Any], bytes]


_EXAMPLE_METHODS = {
    "classify": _ExampleMethod("Classify", "ClassificationRequest", classify, write_classifications),
    "regress": _ExampleMethod("Regress", "RegressionRequest", regress, write_regressions),
}


class _Result(NamedTuple):
    """A reply's status, body, and whether the connection ends with it."""

    code: Code
    status: int
    body: bytes | bytearray
    closes: bool = False


class _LargeAnswer(NamedTuple):
    """Outputs of a model: what counts their bytes, and a function that writes them as JSON."""

    held: HeldAnswer
    write: Callable[[], bytearray]


_Answer = bytes | _LargeAnswer


class _Call:
    """A call of the API and its answer.

    Attributes:
        model: the model for the metrics; empty until it is known.
        api: the method for the metrics; empty until it is known.
        started: when the call began, by `time.monotonic`.
        names: the names in the path, which may not be UTF-8.
    """

    def __init__(self, api: RestApi, request: RestRequest, cancellation: Cancellation) -> None:
        self.core = api.core
        self.codecs = api.codecs
        self.request_log = api.request_log
        self.request = request
        self.cancellation = cancellation
        self.model = ""
        self.api = ""
        self.started = time.monotonic()
        self.names = RawNames("", None, None)

    @overload
    def run(self, work: Callable[[], bytearray]) -> _Result: ...

    @overload
    def run(self, work: Callable[[], _Answer]) -> _Result | _LargeAnswer: ...

    def run(self, work: Callable[[], bytearray | _Answer]) -> _Result | _LargeAnswer:
        """Return what `work` returns or raises."""
        try:
            if self.request.trace is None:
                made = work()
            else:
                with attached(self.request.trace):
                    made = work()
        except _BadPathError as exc:
            return _Result(exc.code, exc.http_status, b"")
        except StatusError as exc:
            error = write_error(shortened(exc.message))
            return _Result(exc.code, exc.http_status, error, isinstance(exc, LimitError))
        return made if isinstance(made, _LargeAnswer) else _Result(Code.OK, HTTP_STATUS[Code.OK], made)

    def answer(self) -> _Answer:
        """Return the body of the reply, or the outputs to write."""
        mark("decode")
        request = self.request
        if request.method == "POST":
            match = _PREDICTION.fullmatch(request.path)
        else:
            match = _MODEL.fullmatch(request.path) if request.method == "GET" else None
        malformed = invalid_argument(f"Malformed request: {request.method} {request.path}")
        if match is None:
            raise malformed
        spec = _model_spec(*match.groups()[:3])
        self.names = RawNames.of(match[1], spec.version.value if match[2] else None, match[3])
        self.model = spec.name
        if request.method == "GET":
            return self._describe(spec, match[4])
        if match[4] != "predict" and match[4] not in _EXAMPLE_METHODS:
            raise malformed  # the pattern ignores case, the methods' names do not
        self.api = match[4]
        return self._predict(spec) if self.api == "predict" else self._answer_examples(spec)

    def _small_body(self) -> bytes:
        body = self.request.body
        return unpacked(body) if is_gzipped(self.request.headers) else bytes(body)

    def _lend(self, lent: ExitStack) -> Lease:
        """Wait for a process that reads the body; it is given back at the end of `lent`."""
        assert self.codecs is not None
        limit, size = self.core.options.max_decoded_bytes, self.request.unpacked_size
        if limit < size <= MAX_UNPACKED:
            raise TooLargeError(f"The body has {size} bytes when unpacked; --max_decoded_bytes allows {limit}.")
        return lent.enter_context(self.codecs.lend(self.cancellation, size))

    def _describe(self, spec: Any, resource: str | None) -> bytes:
        if not spec.name:
            raise invalid_argument("Missing model name in request.")
        if resource == "metadata":
            self.names.check()
            message = serving_message("GetModelMetadataRequest")(model_spec=spec, metadata_field=[SIGNATURE_DEF])
            return metadata_json(model_metadata(self.core, message))
        self.names.check(status=True)
        return status_json(model_status(self.core, serving_message("GetModelStatusRequest")(model_spec=spec)))

    def _predict(self, spec: Any) -> _Answer:
        with ExitStack() as lent:
            body = self._parsed(lent)
            self.names.check()
            name = body.signature_name or DEFAULT_SIGNATURE
            with self.core.servable(spec) as handle:
                signature = handle.signatures.get(name)
                if signature is None:
                    raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
                if not signature.inputs:
                    raise invalid_argument(f"Failed to get input map for signature: {body.signature_name or 'DEFAULT'}")
                tensors = body.tensors({alias: signature.inputs[alias].dtype for alias in sorted(signature.inputs)})
                lent.close()
                check_sizes(tensors, self.core.options)
                self.cancellation.check()
                outputs = run_signature(
                    handle,
                    name,
                    tensors,
                    read=tensors.__getitem__,
                    check_method=self.core.options.check_method_names,
                )
                if self.request_log and self.request_log.wants():
                    self.request_log.write("Predict", *predict_messages(handle, spec, name, tensors, outputs))
        return self._written(outputs, row=body.is_row)

    def _parsed(self, lent: ExitStack) -> PredictBody | RemoteBody:
        if self.codecs is None or not self.request.is_large:
            return read_predict(self._small_body(), self.core.options.max_nesting)
        return self._lend(lent).read_predict(self.request.body, gzipped=is_gzipped(self.request.headers))

    def _written(self, outputs: Mapping[str, Array], *, row: bool) -> _Answer:
        if self.codecs is None or not _is_large(outputs) or not all(map(is_sendable, outputs.values())):
            return write_predictions(outputs, row=row)
        codecs = self.codecs
        size = sum(array.nbytes for array in outputs.values())
        held = codecs.answers.hold(size)
        # TensorFlow keeps the memory of its outputs for other calls, so that those that wait would let it grow for good.
        waiting = {name: array.copy() for name, array in outputs.items()}

        def write() -> bytearray:
            mark("wait")
            with codecs.lend(self.cancellation, size) as lease:
                mark("encode")
                return lease.write_predictions(waiting, row=row)

        return _LargeAnswer(held, write)

    def _answer_examples(self, spec: Any) -> bytes:
        method = _EXAMPLE_METHODS[self.api]
        message = serving_message(method.request)(model_spec=spec)
        self._read_examples(message)
        self.names.check()
        self.cancellation.check()
        response = answer_with_version(self.core, message, method.answer)
        if self.request_log:
            self.request_log.offer(method.rpc, message, response)
        return method.write(response.result)

    def _read_examples(self, message: Any) -> None:
        if self.codecs is None or not self.request.is_large:
            name = read_examples(self._small_body(), message.input, self.core.options.max_nesting)
        else:
            with ExitStack() as lent:
                lease, gzipped = self._lend(lent), is_gzipped(self.request.headers)
                name = lease.read_examples(self.request.body, message.input, gzipped=gzipped)
        if is_utf8(name):
            message.model_spec.signature_name = name
            return
        with self.core.servable(message.model_spec):  # the error for an unknown model comes first
            raise invalid_argument(f"No signature was found with the name: {name}")


class _BadPathError(StatusError):
    """The version in the path is not an int64; the real server answers with an empty body."""


def _model_spec(name: str | None, version: str | None, label: str | None) -> Any:
    spec = serving_message("ModelSpec")(name=unquote(name or ""))
    if version is not None:
        number = parse_version(version)
        if number is None:
            raise _BadPathError(Code.INVALID_ARGUMENT, f"Failed to convert version: {version} to numeric.")
        spec.version.value = number
    if label is not None:
        spec.version_label = unquote(label)
    return spec


def _is_large(outputs: Mapping[str, Array]) -> bool:
    """Return whether an answer takes long to write as JSON."""
    size = 0
    for array in outputs.values():
        size += array.size
        if array.dtype.kind == "O" and size <= SMALL_ANSWER:
            size += sum(map(len, array.flat)) // _STRING_BYTES
    return size > SMALL_ANSWER

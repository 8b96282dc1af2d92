"""The REST API: answer a request's method, path and body (model_servers/http_rest_api_handler.cc)."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import unquote

from serving.protocol.json_codec import read_predict, write_error, write_predictions
from serving.protocol.json_examples import read_examples, write_classifications, write_regressions
from serving.protocol.json_text import is_utf8
from serving.protocol.messages import DEFAULT_SIGNATURE, serving_message
from serving.protocol.status import HTTP_STATUS, Code, StatusError, invalid_argument
from serving.server.methods.examples import classify, regress
from serving.server.methods.model_info import SIGNATURE_DEF, metadata_json, model_metadata, model_status, status_json
from serving.server.methods.model_spec import Method, answer_with_version
from serving.server.methods.predict import predict_messages, run_signature
from serving.server.models.core import ServerCore
from serving.server.models.sources import parse_version
from serving.server.observability.log_lines import log_request, request_id
from serving.server.observability.metrics import Metrics
from serving.server.observability.request_log import RequestLog
from serving.server.rest_api.playground import PATH as PLAYGROUND
from serving.server.rest_api.playground import Playground
from serving.server.rest_api.raw_names import RawNames
from serving.server.rest_api.targets import ModelTarget, read_target

# Matched against the raw path with its query string; names are percent-decoded afterwards.
_API = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)
_VERSION = r"(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?"
_PREDICTION = re.compile(rf"/v1/models/([^/:]+){_VERSION}:(classify|regress|predict)", re.IGNORECASE)
_MODEL = re.compile(rf"/v1/models(?:/([^/:]+))?{_VERSION}(?:/(metadata))?", re.IGNORECASE)

MAX_UNPACKED = 100 * 1024 * 1024
"""Most bytes of an unpacked gzip body (util/net_http/compression/gzip_zlib.h)."""

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
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Reply:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


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
    """

    core: ServerCore
    metrics: Metrics
    metrics_path: str | None = None
    playground: Playground | None = None
    request_log: RequestLog | None = None

    def answer(self, request: RestRequest) -> Reply:
        """Answer a request. Errors are answers too; nothing is raised."""
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
        started = time.monotonic()
        call = _Call(self.core, request, self.request_log)
        code, body = call.run()
        seconds = time.monotonic() - started
        self.metrics.record(call.model, call.api, "REST", code, seconds)
        headers = self._with_cors(_JSON)
        if self.core.options.log_format == "json":
            identity = request_id(request.headers.items())
            headers = {**headers, "X-Request-Id": identity}
            log_request(
                identity, model=call.model, api=call.api or "describe", entrypoint="REST", status=code.name, seconds=seconds,
                error="" if code is Code.OK else body.decode("utf-8", "replace"),
            )  # fmt: skip
        return Reply(HTTP_STATUS[code], headers, body)

    def _answer_metrics(self, target: ModelTarget) -> Reply:
        plain = {"Content-Type": "text/plain"}
        if target.rest:
            return Reply(400, plain, f"Unexpected path: {target.text}. Should be {target.path}".encode())
        return Reply(200, plain, self.metrics.text().encode())

    def timed_out(self) -> Reply:
        """Return the reply to a request that took longer than --rest_api_timeout_in_ms."""
        status = HTTP_STATUS[Code.DEADLINE_EXCEEDED]
        return Reply(status, self._with_cors(_JSON), write_error("Timed out waiting for notification"))

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


class _Call:
    """A call of the API and its answer.

    Attributes:
        model: the model for the metrics; empty until it is known.
        api: the method for the metrics; empty until it is known.
        names: the names in the path, which may not be UTF-8.
    """

    def __init__(self, core: ServerCore, request: RestRequest, request_log: RequestLog | None) -> None:
        self.core = core
        self.request_log = request_log
        self.request = request
        self.model = ""
        self.api = ""
        self.names = RawNames("", None, None)

    def run(self) -> tuple[Code, bytes]:
        try:
            return Code.OK, self._answer()
        except _BadPathError as exc:
            return exc.code, b""
        except StatusError as exc:
            return exc.code, write_error(exc.message)

    def _answer(self) -> bytes:
        request = self.request
        malformed = invalid_argument(f"Malformed request: {request.method} {request.path}")
        if request.method == "POST":
            match = _PREDICTION.fullmatch(request.path)
        else:
            match = _MODEL.fullmatch(request.path) if request.method == "GET" else None
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
        body = _unpacked_body(request)
        return self._predict(spec, body) if self.api == "predict" else self._answer_examples(spec, body)

    def _describe(self, spec: Any, resource: str | None) -> bytes:
        if not spec.name:
            raise invalid_argument("Missing model name in request.")
        if resource == "metadata":
            self.names.check()
            message = serving_message("GetModelMetadataRequest")(model_spec=spec, metadata_field=[SIGNATURE_DEF])
            return metadata_json(model_metadata(self.core, message))
        self.names.check(status=True)
        return status_json(model_status(self.core, serving_message("GetModelStatusRequest")(model_spec=spec)))

    def _predict(self, spec: Any, body: bytes) -> bytes:
        request = read_predict(body)
        self.names.check()
        name = request.signature_name or DEFAULT_SIGNATURE
        with self.core.servable(spec) as handle:
            signature = handle.signatures.get(name)
            if signature is None:
                raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
            if not signature.inputs:
                raise invalid_argument(f"Failed to get input map for signature: {request.signature_name or 'DEFAULT'}")
            tensors = request.tensors({alias: signature.inputs[alias].dtype for alias in sorted(signature.inputs)})
            outputs = run_signature(
                handle,
                name,
                tensors,
                read=tensors.__getitem__,
                check_method=self.core.options.check_method_names,
            )
            if self.request_log and self.request_log.wants():
                self.request_log.write("Predict", *predict_messages(handle, spec, name, tensors, outputs))
        return write_predictions(outputs, row=request.is_row)

    def _answer_examples(self, spec: Any, body: bytes) -> bytes:
        method = _EXAMPLE_METHODS[self.api]
        message = serving_message(method.request)(model_spec=spec)
        self._read_examples(body, message)
        self.names.check()
        response = answer_with_version(self.core, message, method.answer)
        if self.request_log:
            self.request_log.offer(method.rpc, message, response)
        return method.write(response.result)

    def _read_examples(self, body: bytes, message: Any) -> None:
        name = read_examples(body, message.input)
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


def _unpacked_body(request: RestRequest) -> bytes:
    """Return the body without gzip. A damaged body, or one that is too large when unpacked, counts as empty."""
    if "gzip" not in request.headers.get("content-encoding", ""):
        return request.body
    unpacking = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacking.decompress(request.body, MAX_UNPACKED)
    except zlib.error:
        return b""
    # The real server reads the size from the end of the body, so nothing may follow the first gzip member.
    return unpacked if unpacking.eof and not unpacking.unused_data else b""

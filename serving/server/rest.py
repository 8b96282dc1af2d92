"""The REST interface: from a request's method, path and body to a reply (model_servers/http_rest_api_handler.cc)."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from serving.protocol.json_codec import read_predict, write_error, write_predictions
from serving.protocol.json_examples import read_examples, write_classifications, write_regressions
from serving.protocol.json_text import is_utf8
from serving.protocol.messages import DEFAULT_SIGNATURE, serving_message
from serving.protocol.status import HTTP_STATUS, Code, StatusError, invalid_argument
from serving.server.core import ServerCore
from serving.server.examples import classify, regress
from serving.server.log_lines import log_request, request_id
from serving.server.metrics import Metrics
from serving.server.models import SIGNATURE_DEF, metadata_json, model_metadata, model_status, status_json
from serving.server.playground import PATH as PLAYGROUND
from serving.server.playground import Playground
from serving.server.predict import predict_messages, run_signature
from serving.server.request_log import RequestLog
from serving.server.sources import parse_version
from serving.server.targets import ModelTarget, read_target

# Matched against the path as it came, query string and all; only then are names percent-decoded.
_API = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)
_VERSION = r"(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?"
_PREDICTION = re.compile(rf"/v1/models/([^/:]+){_VERSION}:(classify|regress|predict)", re.IGNORECASE)
_MODEL = re.compile(rf"/v1/models(?:/([^/:]+))?{_VERSION}(?:/(metadata))?", re.IGNORECASE)

MAX_UNPACKED = 100 * 1024 * 1024
"""Bytes that a gzipped body may unpack into (util/net_http/compression/gzip_zlib.h)."""

_JSON = {"Content-Type": "application/json"}
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
_METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"})
"""What reaches the API (util/net_http/server/internal/evhttp_server.cc); all but GET, POST and OPTIONS is malformed there."""


@dataclass(frozen=True)
class RestRequest:
    """An HTTP request.

    Attributes:
        path: the target as it stands in the request line: not decoded, with its query string.
        headers: names in lower case.
        body: as sent, perhaps gzipped.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes = b""


def error_page(status: HTTPStatus) -> Reply:
    """What the HTTP server itself answers, libevent in the real one: a page, and the connection ends."""
    what = status.phrase
    page = f"<HTML><HEAD>\n<TITLE>{status.value} {what}</TITLE>\n</HEAD><BODY>\n<H1>{what}</H1>\n</BODY></HTML>\n"
    return Reply(status.value, {"Content-Type": "text/html", "Connection": "close"}, page.encode())


class RestApi:
    """Answers HTTP requests.

    Args:
        metrics_path: where the metrics are to be read; None: nowhere.
        playground: the page at `/`; None: a 404 as everywhere.
    """

    def __init__(
        self,
        core: ServerCore,
        metrics: Metrics,
        metrics_path: str | None = None,
        playground: Playground | None = None,
        request_log: RequestLog | None = None,
    ) -> None:
        self._core = core
        self._metrics = metrics
        self._metrics_path = metrics_path
        self._playground = playground
        self._request_log = request_log

    def answer(self, request: RestRequest) -> Reply:
        """Answer a request; what goes wrong with it is an answer too."""
        if request.method not in _METHODS:
            return error_page(HTTPStatus.NOT_IMPLEMENTED)
        target = read_target(request.path)
        if target is None:
            return error_page(HTTPStatus.BAD_REQUEST)
        request = replace(request, path=target.text)
        if target.path == self._metrics_path:
            return self._monitoring(target)
        if self._playground and request.path == PLAYGROUND and request.method in ("GET", "HEAD"):
            return Reply(200, *self._playground.answer(request.headers))
        if not _API.fullmatch(request.path):
            return error_page(HTTPStatus.NOT_FOUND)
        if request.method == "OPTIONS":
            return self._preflight(request)
        started = time.monotonic()
        call = _Call(self._core, request, self._request_log)
        code, body = call.run()
        seconds = time.monotonic() - started
        self._metrics.record(call.model, call.api, "REST", code, seconds)
        headers = self._with_cors(_JSON)
        if self._core.options.log_format == "json":
            identity = request_id(request.headers.items())
            headers = {**headers, "X-Request-Id": identity}
            log_request(
                identity, model=call.model, api=call.api or "describe", entrypoint="REST", status=code.name, seconds=seconds,
                error="" if code is Code.OK else body.decode("utf-8", "replace"),
            )  # fmt: skip
        return Reply(HTTP_STATUS[code], headers, body)

    def _monitoring(self, target: ModelTarget) -> Reply:
        plain = {"Content-Type": "text/plain"}
        if target.rest:
            return Reply(400, plain, f"Unexpected path: {target.text}. Should be {target.path}".encode())
        return Reply(200, plain, self._metrics.text().encode())

    def timed_out(self) -> Reply:
        """The reply to a request that took longer than --rest_api_timeout_in_ms."""
        status = HTTP_STATUS[Code.DEADLINE_EXCEEDED]
        return Reply(status, self._with_cors(_JSON), write_error("Timed out waiting for notification"))

    def _preflight(self, request: RestRequest) -> Reply:
        known = re.search("https?://", request.headers.get("origin", ""))
        headers = self._with_cors({"Content-Type": "text/html; charset=ISO-8859-1"})
        return Reply(200 if known else HTTP_STATUS[Code.FAILED_PRECONDITION], headers)

    def _with_cors(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        return {**headers, **_CORS} if self._core.options.rest_cors else headers


class _Call:
    """One call: what its path names, and its answer.

    Attributes:
        model, api: for the metrics; empty while not known.
    """

    def __init__(self, core: ServerCore, request: RestRequest, request_log: RequestLog | None = None) -> None:
        self.core = core
        self.request_log = request_log
        self.request = request
        self.model = ""
        self.api = ""

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
        self.model = spec.name
        if request.method == "GET":
            return self._describe(spec, match[4])
        answers = {"predict": self._predict, "classify": self._classify, "regress": self._regress}
        if match[4] not in answers:
            raise malformed
        self.api = match[4]
        return answers[match[4]](spec, _body(request))

    def _describe(self, spec: Any, resource: str | None) -> bytes:
        if not spec.name:
            raise invalid_argument("Missing model name in request.")
        if resource == "metadata":
            wanted = serving_message("GetModelMetadataRequest")(model_spec=spec, metadata_field=[SIGNATURE_DEF])
            return metadata_json(model_metadata(self.core, wanted))
        return status_json(model_status(self.core, serving_message("GetModelStatusRequest")(model_spec=spec)))

    def _predict(self, spec: Any, body: bytes) -> bytes:
        given = read_predict(body)
        name = given.signature_name or DEFAULT_SIGNATURE
        with self.core.servable(spec) as handle:
            signature = handle.signatures.get(name)
            if signature is None:
                raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
            if not signature.inputs:
                shown = given.signature_name or "DEFAULT"
                raise invalid_argument(f"Failed to get input map for signature: {shown}")
            tensors = given.tensors({alias: signature.inputs[alias].dtype for alias in sorted(signature.inputs)})
            outputs = run_signature(
                handle,
                name,
                tensors,
                read=tensors.__getitem__,
                check_method=self.core.options.check_method_names,
            )
            if self.request_log and self.request_log.wants():
                self.request_log.write("Predict", *predict_messages(handle, spec, name, tensors, outputs))
        return write_predictions(outputs, row=given.is_row)

    def _classify(self, spec: Any, body: bytes) -> bytes:
        wanted = serving_message("ClassificationRequest")(model_spec=spec)
        self._read_examples(body, wanted)
        response = classify(self.core, wanted)
        if self.request_log and self.request_log.wants():
            self.request_log.write("Classify", wanted, response)
        return write_classifications(response.result)

    def _regress(self, spec: Any, body: bytes) -> bytes:
        wanted = serving_message("RegressionRequest")(model_spec=spec)
        self._read_examples(body, wanted)
        response = regress(self.core, wanted)
        if self.request_log and self.request_log.wants():
            self.request_log.write("Regress", wanted, response)
        return write_regressions(response.result)

    def _read_examples(self, body: bytes, wanted: Any) -> None:
        name = read_examples(body, wanted.input)
        if is_utf8(name):
            wanted.model_spec.signature_name = name
            return
        with self.core.servable(wanted.model_spec):  # an unknown model is told first
            raise invalid_argument(f"No signature was found with the name: {name}")


class _BadPathError(StatusError):
    """A path that matches but names no version; the real server answers it with an empty body."""


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


def _body(request: RestRequest) -> bytes:
    """The body, unpacked; one that does not unpack, or into more than the real server allows, counts as empty."""
    if "gzip" not in request.headers.get("content-encoding", ""):
        return request.body
    unpacking = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacking.decompress(request.body, MAX_UNPACKED)
    except zlib.error:
        return b""
    # The real server looks for the size at the very end of the body: nothing may follow the first member.
    return unpacked if unpacking.eof and not unpacking.unused_data else b""

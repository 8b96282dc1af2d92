"""TensorFlow Serving over gRPC: requests, answers and errors, with messages built from descriptors.

`grpc_transport` and `async_grpc` send what this module encodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from serving.client.connection import ConnectionSettings
from serving.client.examples import Classes, classes_from_proto
from serving.client.model_info import ModelInfo, VersionStatus, signatures_from_proto, statuses_from_proto
from serving.client.steps import Request, Steps
from serving.client.transport import (
    MAX_RESPONSE_BYTES,
    ModelRef,
    Target,
    Verb,
    closed,
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
    ServingError,
    TensorError,
)
from serving.protocol.messages import MODEL_SERVICE, PREDICTION_SERVICE, enum, service, serving_message
from serving.protocol.tensor_wire import MAX_MESSAGE_BYTES, parse_message, predict_request, read_outputs
from serving.protocol.tensors import Array

_REQUESTS = {"Classify": "ClassificationRequest", "Regress": "RegressionRequest"}
"""Request message of each RPC that takes tf.Examples."""

_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.max_send_message_length", -1),
    # Gives each client of a process its own connection.
    ("grpc.use_local_subchannel_pool", 1),
    # Calls take turns over all addresses of a name, such as the pods of a headless Service. By default all go to the first one.
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    # Reconnects quickly to a server that is starting: gRPC's default first back-off is a second, and it grows.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Despite its name, the time that one attempt to connect may take (gRPC core, subchannel.cc, min_connect_timeout). A gateway
    # on another continent needs several round trips for TCP, TLS and HTTP/2.
    ("grpc.min_reconnect_backoff_ms", 5000),
)

_NO_CONNECTION = (
    "failed to connect",
    "all backends failing",
    "name resolution",
    "errors resolving",
    "resolver",
    "DNS",
    "handshake",
)
"""Fragments of gRPC's own messages for UNAVAILABLE before a request is sent. TensorFlow Serving's messages (a full queue) contain
none of them, nor of the next ones."""

_LOST = (
    "Socket closed", "Connection re", "Connection timed out", "Broken pipe", "Stream removed", "Cancelling all calls", "GOAWAY",
    "Endpoint", "ransport", "recvmsg", "sendmsg", "eepalive", "ing timeout", "No route to host", "Network is", "too_many_pings",
    "Too many pings",
)  # fmt: skip
"""Fragments of gRPC's own messages for UNAVAILABLE when a connection broke, or a server stopped, with the request under way."""

_PUSHBACK = "grpc-retry-pushback-ms"
"""Metadata by which a server asks to wait, or, below 0, not to try again (gRFC A6)."""

_DECOMPRESSED = "Decompressed message larger than max"
"""gRPC's own message for a message whose decompression it has stopped."""

_PING_TIMEOUT_MS = 20_000
"""How long an answer to a ping may take, gRPC's default."""

_CLASS_BYTES = 200
"""Memory of one (label, score) pair besides the label's characters."""

_NOT_GRPC = ("http1.x server", "Failed parsing HTTP/2")
"""Fragments of gRPC's own messages for a port that speaks HTTP/1."""


class GrpcProtocol:
    """The requests to one server as steps that yield serialized messages and take serialized answers.

    Args:
        target: the server's address.
        settings: how to connect.
        max_response_bytes: most bytes of an answer, and of what it is decoded to.

    Attributes:
        target: the server's address.
        options: options of a channel to the server.
    """

    def __init__(
        self,
        target: Target,
        settings: ConnectionSettings | None = None,
        *,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        settings = settings or ConnectionSettings()
        self.target = self._target = target
        self._is_compressed = settings.channels.compression is not None
        self._max_bytes = max_response_bytes
        self._max_message = min(max_response_bytes, MAX_MESSAGE_BYTES)
        self.options = (*_OPTIONS, ("grpc.max_receive_message_length", self._max_message), *_more_options(settings))

    def predict(
        self, ref: ModelRef, signature: str, inputs: Mapping[str, Array], timeout: float
    ) -> Steps[dict[str, Array]]:
        """Run a signature; see `WireProtocol.predict`."""
        data = yield _request(PREDICTION_SERVICE, "Predict", _predict_request(ref, signature, inputs), ref, timeout)
        try:
            return read_outputs(data, self._max_bytes)
        except ProtocolError as exc:
            exc.where = self._where(ref)
            raise

    def prepare(self, ref: ModelRef, signature: str, inputs: Mapping[str, Array], timeout: float) -> Callable[[], Steps[object]]:
        """Encode a predict request once; see `WireProtocol.prepare`."""
        return _prepared("Predict", _predict_request(ref, signature, inputs), ref, timeout)

    def prepare_examples(
        self, verb: Verb, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float
    ) -> Callable[[], Steps[object]]:
        """Encode a classify or regress request once; see `WireProtocol.prepare_examples`."""
        request = _examples_request(_REQUESTS[verb], ref, signature, examples).SerializeToString()
        return _prepared(verb, request, ref, timeout)

    def classify(self, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float) -> Steps[Classes]:
        """Return the classes of each example; see `WireProtocol.classify`."""
        request = _examples_request(_REQUESTS["Classify"], ref, signature, examples)
        result = (yield from self._call(PREDICTION_SERVICE, "Classify", request, ref, timeout)).result
        pairs = sum(len(example.classes) for example in result.classifications)
        if pairs * _CLASS_BYTES > self._max_bytes:
            raise too_long(f"The {pairs} classes of the answer", self._max_bytes, self._where(ref))
        return classes_from_proto(result)

    def regress(self, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float) -> Steps[list[float]]:
        """Return one number per example; see `WireProtocol.regress`."""
        request = _examples_request(_REQUESTS["Regress"], ref, signature, examples)
        response = yield from self._call(PREDICTION_SERVICE, "Regress", request, ref, timeout)
        return [regression.value for regression in response.result.regressions]

    def metadata(self, ref: ModelRef, timeout: float) -> Steps[ModelInfo]:
        """Return the signatures of a version; see `WireProtocol.metadata`."""
        request = serving_message("GetModelMetadataRequest")(
            model_spec=_spec(ref), metadata_field=["signature_def"]
        )
        response = yield from self._call(PREDICTION_SERVICE, "GetModelMetadata", request, ref, timeout)
        signatures = serving_message("SignatureDefMap")()
        try:
            found = response.metadata["signature_def"].Unpack(signatures)
        except DecodeError as exc:
            raise self._unexpected("the metadata", ref, exc) from exc
        if not found:
            raise ProtocolError(f"The metadata of {ref} has no signature_def.", where=str(self._target))
        version = response.model_spec.version.value
        return ModelInfo(response.model_spec.name, version, signatures_from_proto(signatures))

    def status(self, ref: ModelRef, timeout: float) -> Steps[list[VersionStatus]]:
        """Return the states of the model's versions; see `WireProtocol.status`."""
        request = serving_message("GetModelStatusRequest")(model_spec=_spec(ref))
        return statuses_from_proto((yield from self._call(MODEL_SERVICE, "GetModelStatus", request, ref, timeout)))

    def reload(self, config: Any, timeout: float) -> Steps[None]:
        """Replace the server's whole config.

        Args:
            config: a ModelServerConfig message.
            timeout: seconds to wait for the answer.

        Raises:
            RequestError: the server refuses the config.
            ConnectionFailedError, DeadlineError: see `serving.errors`.
        """
        request = serving_message("ReloadConfigRequest")(config=config)
        names = ", ".join(model.name for model in config.model_config_list.config)
        ref = ModelRef(names or "(none)")
        response = yield from self._call(MODEL_SERVICE, "HandleReloadConfigRequest", request, ref, timeout)
        if number := response.status.error_code:
            known = enum("tensorflow.error.Code").values_by_number
            code = known[number].name if number in known else str(number)
            message = response.status.error_message
            raise RequestError(f"{code}: {message}", status=code, where=str(self._target))

    def _call(self, service_name: str, method: str, request: Any, ref: ModelRef, timeout: float) -> Steps[Any]:
        data = yield _request(service_name, method, request.SerializeToString(), ref, timeout)
        output = service(service_name).methods_by_name[method].output_type.full_name
        try:
            return parse_message(serving_message(output.rpartition(".")[2]), data, self._max_bytes)
        except TensorError as exc:
            raise too_long(exc.what.removesuffix("."), self._max_bytes, self._where(ref)) from exc
        except DecodeError as exc:
            raise self._unexpected(method, ref, exc) from exc

    def _where(self, ref: ModelRef) -> str:
        return f"{self._target}, model {ref}"

    def _unexpected(self, what: str, ref: ModelRef, exc: Exception) -> ProtocolError:
        fix = "check that this is the gRPC port of a TensorFlow Serving server"
        return ProtocolError(f"The answer to {what} cannot be read: {exc}.", where=self._where(ref), fix=fix)

    def error(
        self,
        request: Request,
        status: str,
        message: str,
        metadata: Iterable[tuple[str, str | bytes]] | None = None,
        *,
        is_closed: bool,
    ) -> ServingError:
        """Return the error of a call that ended with a status other than OK.

        Args:
            request: what was sent.
            status: gRPC's name of the status code.
            message: the details of the status, the server's or gRPC's own.
            metadata: what the server sent with the status.
            is_closed: whether the client has been closed, which cancels calls.
        """
        where = self._where(request.ref)
        if is_closed and status == "CANCELLED":
            return closed(str(self._target))
        is_inflated = _DECOMPRESSED in message and not self._is_compressed  # else it may be the server's, about the request
        if status == "RESOURCE_EXHAUSTED" and (is_inflated or f"vs. {self._max_message})" in message):
            return too_long("The answer", self._max_message, where)
        if status == "DEADLINE_EXCEEDED":
            fix = "set a longer timeout, or check whether the server is overloaded"
            return DeadlineError(f"No answer within {request.timeout:g} s.", where=where, fix=fix)
        if any(part in message for part in _NOT_GRPC):
            fix = "use http://HOST:PORT for a REST port, or give the gRPC port (8500 by default)"
            return ConnectionFailedError(
                f"{self._target.address} does not speak gRPC.", where=where, fix=fix, code="TFB7003"
            )
        if status == "UNAVAILABLE":
            return self._unavailable(message, request, dict(metadata or ()))
        return refusal(f"{status}: {message}", status, message, request.ref, where)

    def _unavailable(self, message: str, request: Request, metadata: Mapping[str, str | bytes]) -> ServingError:
        where = self._where(request.ref)
        if any(part in message for part in _NO_CONNECTION):
            what = f"Cannot connect to {self._target.address}: {message}"
            return unsent(ConnectionFailedError(what, where=where, fix=reachable(self._target, "gRPC")))
        if any(part in message for part in _LOST):
            return lost(self._target, message, where)
        error: ServingError = refusal(f"UNAVAILABLE: {message}", "UNAVAILABLE", message, request.ref, where)
        if not was_forwarded(message):
            error = unsent(error)
        if (asked := metadata.get(_PUSHBACK)) is not None:
            error.retry_after = _pushback_seconds(str(asked))
        return error


def _more_options(settings: ConnectionSettings) -> tuple[tuple[str, str | int], ...]:
    options: list[tuple[str, str | int]] = []
    if settings.tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", settings.tls.server_name))
    if settings.channels.keepalive is not None:
        milliseconds = int(settings.channels.keepalive * 1000)
        options += [
            ("grpc.keepalive_time_ms", milliseconds),
            ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
            ("grpc.http2.ping_timeout_ms", _PING_TIMEOUT_MS),
            # By default, gRPC stops after two pings that no request or answer follows: a long inference has none.
            ("grpc.http2.max_pings_without_data", 0),
        ]
    return tuple(options)


def _pushback_seconds(text: str) -> float:
    """Return the seconds that a server asks to wait; below 0 for what is no number (gRFC A6: then do not try again)."""
    return int(text) / 1000 if text.isascii() and text.isdigit() and len(text) < len(str(2**31)) else -1.0


def _request(service_name: str, method: str, body: bytes, ref: ModelRef, timeout: float) -> Request:
    return Request(f"/{service_name}/{method}", body, ref, timeout, is_read=method.startswith("Get"))


def _prepared(verb: Verb, body: bytes, ref: ModelRef, timeout: float) -> Callable[[], Steps[object]]:
    request = _request(PREDICTION_SERVICE, verb, body, ref, timeout)

    def call() -> Steps[object]:
        answer: object = yield request
        return answer

    return call


def _predict_request(ref: ModelRef, signature: str, inputs: Mapping[str, Array]) -> bytes:
    head = serving_message("PredictRequest")(model_spec=_spec(ref, signature)).SerializeToString()
    return predict_request(head, inputs)


def _examples_request(kind: str, ref: ModelRef, signature: str, examples: Sequence[Any]) -> Any:
    request = serving_message(kind)(model_spec=_spec(ref, signature))
    request.input.example_list.examples.extend(examples)
    return request


def _spec(ref: ModelRef, signature: str = "") -> Any:
    spec = serving_message("ModelSpec")(name=ref.model, signature_name=signature)
    if ref.version is not None:
        spec.version.value = ref.version
    elif ref.label is not None:
        spec.version_label = ref.label
    return spec

"""TensorFlow Serving over gRPC, with grpcio and messages built from descriptors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from serving.client.examples import Classes, classes_from_proto
from serving.client.model_info import ModelInfo, VersionStatus, signatures_from_proto, statuses_from_proto
from serving.client.transport import MAX_RESPONSE_BYTES, ModelRef, Target, Verb, closed, hint, too_long
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

_OPTIONS = (
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
    "Connection re",
    "Socket closed",
    "name resolution",
    "DNS",
    "handshake",
)
"""Fragments of gRPC's own messages for UNAVAILABLE. TensorFlow Serving's messages (a full queue) contain none of them."""

_DECOMPRESSED = "Decompressed message larger than max"
"""gRPC's own message for an answer whose decompression it has stopped; the client's requests are never compressed."""

_CLASS_BYTES = 200
"""Memory of one (label, score) pair besides the label's characters."""

_NOT_GRPC = ("http1.x server", "Failed parsing HTTP/2")
"""Fragments of gRPC's own messages for a port that speaks HTTP/1."""


class GrpcTransport:
    """A channel to one server; safe to use from several threads.

    Args:
        target: the server's address.
        root_certificates: PEM of the certificate authority to trust, for a `grpcs://` target; None trusts the system's.
        max_response_bytes: most bytes of an answer, and of what it is decoded to.
    """

    def __init__(
        self, target: Target, *, root_certificates: bytes | None = None, max_response_bytes: int = MAX_RESPONSE_BYTES
    ) -> None:
        self._target = target
        self._max_bytes = max_response_bytes
        self._max_message = min(max_response_bytes, MAX_MESSAGE_BYTES)
        options = (*_OPTIONS, ("grpc.max_receive_message_length", self._max_message))
        if target.tls:
            credentials = grpc.ssl_channel_credentials(root_certificates)
            self._channel = grpc.secure_channel(target.address, credentials, options=options)
        else:
            self._channel = grpc.insecure_channel(target.address, options=options)
        self._calls: dict[str, Callable[..., Any]] = {}
        self._is_closed = False

    def predict(
        self, ref: ModelRef, signature: str, inputs: Mapping[str, Array], timeout: float
    ) -> dict[str, Array]:
        """Run a signature; see `Transport.predict`."""
        data = self._exchange(PREDICTION_SERVICE, "Predict", _predict_request(ref, signature, inputs), ref, timeout)
        try:
            return read_outputs(data, self._max_bytes)
        except ProtocolError as exc:
            exc.where = self._where(ref)
            raise

    def prepare(
        self, ref: ModelRef, signature: str, inputs: Mapping[str, Array], timeout: float
    ) -> Callable[[], object]:
        """Encode a predict request once; see `Transport.prepare`."""
        return self._prepared("Predict", _predict_request(ref, signature, inputs), ref, timeout)

    def prepare_examples(
        self, verb: Verb, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float
    ) -> Callable[[], object]:
        """Encode a classify or regress request once; see `Transport.prepare_examples`."""
        request = _examples_request(_REQUESTS[verb], ref, signature, examples).SerializeToString()
        return self._prepared(verb, request, ref, timeout)

    def _prepared(self, verb: Verb, request: bytes, ref: ModelRef, timeout: float) -> Callable[[], object]:
        def call() -> object:
            return self._exchange(PREDICTION_SERVICE, verb, request, ref, timeout)

        return call

    def classify(self, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float) -> Classes:
        """Return the classes of each example; see `Transport.classify`."""
        request = _examples_request(_REQUESTS["Classify"], ref, signature, examples)
        result = self._call(PREDICTION_SERVICE, "Classify", request, ref, timeout).result
        pairs = sum(len(example.classes) for example in result.classifications)
        if pairs * _CLASS_BYTES > self._max_bytes:
            raise too_long(f"The {pairs} classes of the answer", self._max_bytes, self._where(ref))
        return classes_from_proto(result)

    def regress(self, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float) -> list[float]:
        """Return one number per example; see `Transport.regress`."""
        request = _examples_request(_REQUESTS["Regress"], ref, signature, examples)
        response = self._call(PREDICTION_SERVICE, "Regress", request, ref, timeout)
        return [regression.value for regression in response.result.regressions]

    def metadata(self, ref: ModelRef, timeout: float) -> ModelInfo:
        """Return the signatures of a version; see `Transport.metadata`."""
        request = serving_message("GetModelMetadataRequest")(
            model_spec=_spec(ref), metadata_field=["signature_def"]
        )
        response = self._call(PREDICTION_SERVICE, "GetModelMetadata", request, ref, timeout)
        signatures = serving_message("SignatureDefMap")()
        try:
            found = response.metadata["signature_def"].Unpack(signatures)
        except DecodeError as exc:
            raise self._unexpected("the metadata", ref, exc) from exc
        if not found:
            raise ProtocolError(f"The metadata of {ref} has no signature_def.", where=str(self._target))
        version = response.model_spec.version.value
        return ModelInfo(response.model_spec.name, version, signatures_from_proto(signatures))

    def status(self, ref: ModelRef, timeout: float) -> list[VersionStatus]:
        """Return the states of the model's versions; see `Transport.status`."""
        request = serving_message("GetModelStatusRequest")(model_spec=_spec(ref))
        return statuses_from_proto(self._call(MODEL_SERVICE, "GetModelStatus", request, ref, timeout))

    def reload(self, config: Any, timeout: float) -> None:
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
        response = self._call(MODEL_SERVICE, "HandleReloadConfigRequest", request, ref, timeout)
        if number := response.status.error_code:
            known = enum("tensorflow.error.Code").values_by_number
            code = known[number].name if number in known else str(number)
            message = response.status.error_message
            raise RequestError(f"{code}: {message}", status=code, where=str(self._target))

    def close(self) -> None:
        """Close the channel."""
        self._is_closed = True
        self._channel.close()

    def _call(self, service_name: str, method: str, request: Any, ref: ModelRef, timeout: float) -> Any:
        data = self._exchange(service_name, method, request.SerializeToString(), ref, timeout)
        output = service(service_name).methods_by_name[method].output_type.full_name
        try:
            return parse_message(serving_message(output.rpartition(".")[2]), data, self._max_bytes)
        except TensorError as exc:
            raise too_long(exc.what.removesuffix("."), self._max_bytes, self._where(ref)) from exc
        except DecodeError as exc:
            raise self._unexpected(method, ref, exc) from exc

    def _exchange(self, service_name: str, method: str, request: bytes, ref: ModelRef, timeout: float) -> bytes:
        """Send a serialized request, with the headers of the model version, and return the serialized answer."""
        path = f"/{service_name}/{method}"
        if self._is_closed:
            raise closed(str(self._target))
        try:
            if path not in self._calls:
                # Without serializers, bytes are sent and returned unchanged.
                self._calls[path] = self._channel.unary_unary(path, None, None)
            data: bytes = self._calls[path](request, timeout=timeout, metadata=ref.headers)
        except grpc.RpcError as exc:
            raise self._error(exc, ref, timeout) from exc
        except ValueError as exc:
            if self._is_closed:  # by another thread, since the check above
                raise closed(str(self._target)) from exc
            raise
        return data

    def _where(self, ref: ModelRef) -> str:
        return f"{self._target}, model {ref}"

    def _unexpected(self, what: str, ref: ModelRef, exc: Exception) -> ProtocolError:
        fix = "check that this is the gRPC port of a TensorFlow Serving server"
        return ProtocolError(f"The answer to {what} cannot be read: {exc}.", where=self._where(ref), fix=fix)

    def _error(self, exc: Any, ref: ModelRef, timeout: float) -> ServingError:
        status, message = exc.code().name, exc.details() or ""
        where = self._where(ref)
        if self._is_closed and status == "CANCELLED":
            return closed(str(self._target))
        if status == "RESOURCE_EXHAUSTED" and (_DECOMPRESSED in message or f"vs. {self._max_message})" in message):
            return too_long("The answer", self._max_message, where)
        if status == "DEADLINE_EXCEEDED":
            fix = "set a longer timeout, or check whether the server is overloaded"
            return DeadlineError(f"No answer within {timeout:g} s.", where=where, fix=fix)
        if any(part in message for part in _NOT_GRPC):
            fix = "use http://HOST:PORT for a REST port, or give the gRPC port (8500 by default)"
            return ConnectionFailedError(
                f"{self._target.address} does not speak gRPC.", where=where, fix=fix, code="TFB7003"
            )
        if status == "UNAVAILABLE" and any(part in message for part in _NO_CONNECTION):
            fix = "check that the server is running and that this is its gRPC port"
            what = f"Cannot connect to {self._target.address}: {message}"
            return ConnectionFailedError(what, where=where, fix=fix)
        return RequestError(
            f"{status}: {message}", status=status, where=where, fix=hint(status, message, ref)
        )


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

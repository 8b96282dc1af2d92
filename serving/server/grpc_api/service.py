"""The gRPC server: PredictionService, ModelService, health and reflection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from serving.protocol.messages import MODEL_SERVICE, PREDICTION_SERVICE, new_pool, service, serving_message
from serving.protocol.open_inference.messages import INFERENCE_SERVICE, inference_file, inference_service
from serving.protocol.status import Code, StatusError, invalid_argument
from serving.server.config.options import ServerOptions
from serving.server.grpc_api.gate import Gate, Guard, read_message
from serving.server.grpc_api.listen import listen
from serving.server.grpc_api.open_inference import methods as inference_methods
from serving.server.grpc_api.request_size import answer_bytes, decoded_bytes
from serving.server.grpc_api.tracing import traced
from serving.server.methods.copies import one_at_a_time
from serving.server.methods.examples import classify, multi_inference, regress
from serving.server.methods.model_info import model_metadata, model_status, status_message
from serving.server.methods.model_spec import answer_multi_inference, answer_with_version
from serving.server.methods.predict import predict
from serving.server.models.core import ServerCore
from serving.server.observability.log_lines import REQUEST_ID, log_request, request_id
from serving.server.observability.metrics import Metrics
from serving.server.observability.request_log import RequestLog
from serving.server.observability.tracing import Spans, mark

Method = Callable[[ServerCore, Any], Any]
"""Answers a request message."""

_MAX_MESSAGE = 2**31 - 1
_SPARE_THREADS = 32
"""Threads that tell the calls beyond --max_concurrent_rpcs that they are refused."""

_STREAMS = 256
"""Calls of one connection at once; a client's further calls wait on its side."""

_POLL_SECONDS = 0.1

_HANDSHAKE_MS = 20_000
"""Time for a new connection to speak HTTP/2; gRPC's default is two minutes."""

_KEEPALIVE_MS = 300_000
"""A connection is asked after this time whether its client is still there; gRPC's default is two hours."""

_CODES = {code.value[0]: code for code in grpc.StatusCode}

METHODS: dict[str, dict[str, Method]] = {
    PREDICTION_SERVICE: {
        "Predict": partial(answer_with_version, method=predict),
        "Classify": partial(answer_with_version, method=classify),
        "Regress": partial(answer_with_version, method=regress),
        "MultiInference": partial(answer_multi_inference, method=multi_inference),
        "GetModelMetadata": model_metadata,
    },
    MODEL_SERVICE: {"GetModelStatus": model_status},
}
_MEASURED = {"Predict": "Predict", "Classify": "Classify", "Regress": "Regress", "ModelInfer": "Predict"}
"""Method -> the name under which the metrics count it."""

HEALTH_SERVICES = ("", "PredictionService", "ModelService")
"""Service names for health checks: unqualified, as in the real server."""


class GrpcServer:
    """A gRPC server, which listens when it is created and answers once it is started.

    Args:
        core: the models.
        metrics: counts the requests.
        request_log: logs a sample of the requests; None turns that off.
        spans: begins the spans of the calls; None turns tracing off.

    Attributes:
        port: the port that it listens on; 0 if it listens on a socket path only.

    Raises:
        ConfigError: the port, the socket path or the TLS config cannot be used.
    """

    def __init__(
        self, core: ServerCore, metrics: Metrics, request_log: RequestLog | None = None, spans: Spans | None = None
    ) -> None:
        options = core.options
        self._spans = spans
        self._request_log = request_log
        self._logs_requests = options.log_format == "json"
        self._core = core
        self._metrics = metrics
        self._gate = Gate(
            calls=options.max_concurrent_rpcs,
            running=max(options.grpc_threads, 1),
            held_bytes=options.max_decoded_bytes,
            write_seconds=options.write_timeout_seconds,
        )
        most = options.max_concurrent_rpcs + _SPARE_THREADS
        self._server = grpc.server(
            ThreadPoolExecutor(most, thread_name_prefix="grpc"),
            interceptors=[Guard(self._gate)],
            options=_arguments(options),
            maximum_concurrent_rpcs=4 * most,
        )
        self._server.add_generic_rpc_handlers(tuple(self._handlers()))
        # A watcher holds a thread, so that the gate can count it.
        self._health = health.HealthServicer(experimental_non_blocking=False) if options.health else None
        if self._health is not None:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        _add_reflection(self._server, options)
        self.port = listen(self._server, options)

    def start(self) -> None:
        """Begin to answer."""
        self._gate.start()
        self._server.start()
        self._set_health(health_pb2.HealthCheckResponse.SERVING)

    def stop(self, seconds: float) -> None:
        """Refuse new requests and wait up to `seconds` for the running ones."""
        self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._gate.drain()
        stopped = self._server.stop(seconds)
        # A client that answers no ping keeps its connection for 20 s more, although no call is left.
        while not (stopped.wait(_POLL_SECONDS) or self._gate.is_drained):
            pass
        stopped.set()  # ends grpc's thread that waits for the same, which the end of the process would wait for
        self._gate.close()

    def _set_health(self, status: Any) -> None:
        if self._health is not None:
            for name in HEALTH_SERVICES:
                self._health.set(name, status)

    def _handlers(self) -> list[grpc.GenericRpcHandler[Any, Any]]:
        handlers = {name: dict(methods) for name, methods in METHODS.items()}
        handlers[MODEL_SERVICE]["HandleReloadConfigRequest"] = self._reload
        made = [self._service_handler(service(name), methods) for name, methods in handlers.items()]
        if self._core.options.open_inference_protocol:
            made.append(self._service_handler(inference_service(), inference_methods(self._request_log)))
        return made

    def _service_handler(
        self, descriptor: ServiceDescriptor, methods: dict[str, Method]
    ) -> grpc.GenericRpcHandler[Any, Any]:
        described = descriptor.methods_by_name
        return grpc.method_handlers_generic_handler(
            descriptor.full_name, {name: self._handler(described[name], answer) for name, answer in methods.items()}
        )

    def _handler(self, descriptor: MethodDescriptor, answer: Method) -> grpc.RpcMethodHandler[Any, Any]:
        method = descriptor.name
        deserialize = GetMessageClass(descriptor.input_type).FromString
        serialize = GetMessageClass(descriptor.output_type).SerializeToString

        def respond(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            request, call = read_message(self._gate, messages, context, deserialize)
            started = time.monotonic()
            try:
                # The message itself is reserved twice: as bytes and parsed.
                self._gate.reserve(call, call.reserved + decoded_bytes(request, self._core.options))
                mark("wait")
                with self._gate.running:
                    mark("decode")
                    response = self._answer(answer, request, context)
                    with one_at_a_time(max(call.reserved, answer_bytes(response))):
                        data: bytes = serialize(response)
            except StatusError as exc:
                self._measure(method, request, exc.code, started)
                self._log(method, request, context, started, exc)
                context.abort(_CODES[exc.code.value], exc.grpc_message)
            self._measure(method, request, Code.OK, started)
            self._log(method, request, context, started)
            if self._request_log:
                self._request_log.offer(method, request, response)
            self._gate.answered(call, len(data))
            return data

        name = descriptor.containing_service.full_name
        # Clients see a unary method. As a streaming one it gets its messages as bytes, when it asks for them.
        return grpc.stream_unary_rpc_method_handler(traced(self._spans, name, method, respond) if self._spans else respond)

    def _answer(self, answer: Method, request: Any, context: grpc.ServicerContext) -> Any:
        if not context.is_active():
            # The client left while the request waited for a thread; nobody would read the answer.
            context.abort(grpc.StatusCode.CANCELLED, "The client cancelled the request or its deadline has passed.")
        return answer(self._core, request)

    def _log(
        self, method: str, request: Any, context: grpc.ServicerContext, started: float, exc: StatusError | None = None
    ) -> None:
        """Write the request's line of the log and return its id to the client."""
        if not self._logs_requests:
            return
        identity = request_id(context.invocation_metadata())
        context.set_trailing_metadata(((REQUEST_ID, identity),))
        model = _model_name(request)
        code = exc.code if exc else Code.OK
        log_request(
            identity, model=model, api=method, entrypoint="GRPC", status=code.name, seconds=time.monotonic() - started,
            error=exc.message if exc else "",
        )  # fmt: skip

    def _measure(self, method: str, request: Any, code: Code, started: float) -> None:
        if method in _MEASURED:
            self._metrics.record(_model_name(request), _MEASURED[method], "GRPC", code, time.monotonic() - started)

    def _reload(self, core: ServerCore, request: Any) -> Any:
        """Answer a ReloadConfigRequest. The response's `metric` holds the growth of the named counters during the reload."""
        before = {name: self._metrics.total(name) for name in request.metric_names}
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        core.reload_for_client(request.config)
        response = serving_message("ReloadConfigResponse")(status=status_message(None))
        for name, value in before.items():
            response.metric.add(name=name, int64_value_increase=self._metrics.total(name) - value)
        return response


def _arguments(options: ServerOptions) -> list[tuple[str, Any]]:
    """Return the arguments of the gRPC server; the user's win.

    gRPC's own defaults already bound a call's metadata (16 KiB), pings (two strikes, then the connection is closed) and the
    windows of a stream.
    """
    own = {
        # It bounds a message that was compressed after it is unpacked, too.
        "grpc.max_receive_message_length": min(options.max_request_bytes, _MAX_MESSAGE),
        "grpc.max_send_message_length": _MAX_MESSAGE,
        "grpc.so_reuseport": 0,  # a port in use is an error, not shared
        "grpc.max_concurrent_streams": _STREAMS,
        "grpc.server_handshake_timeout_ms": _HANDSHAKE_MS,
        "grpc.keepalive_time_ms": _KEEPALIVE_MS,
    }
    return list({**own, **dict(options.channel_arguments)}.items())


def _model_name(request: Any) -> str:
    """Return the name of the model that a request is for; empty for one that is for none."""
    fields = request.DESCRIPTOR.fields_by_name
    if "model_spec" in fields:
        return str(request.model_spec.name)
    field = next((name for name in ("model_name", "name") if name in fields), None)
    return str(getattr(request, field)) if field else ""


def _add_reflection(server: grpc.Server, options: ServerOptions) -> None:
    names = [PREDICTION_SERVICE, MODEL_SERVICE, reflection.SERVICE_NAME]
    pool = _reflection_pool()
    if options.health:
        names.append(health.SERVICE_NAME)
    if options.open_inference_protocol:
        names.append(INFERENCE_SERVICE)
        pool.AddSerializedFile(inference_file().SerializeToString())
    reflection.enable_server_reflection(names, server, pool=pool)


def _reflection_pool() -> DescriptorPool:
    """Return a pool of the services' descriptors and those of health and reflection, which are in protobuf's default pool."""
    pool = new_pool()
    for module in (health_pb2, reflection_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    return pool

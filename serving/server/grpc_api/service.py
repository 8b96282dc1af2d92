"""The gRPC server: PredictionService, ModelService, health and reflection."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from serving.protocol.messages import MODEL_SERVICE, PREDICTION_SERVICE, new_pool, service, serving_message
from serving.protocol.status import Code, StatusError, invalid_argument
from serving.server.config.options import ServerOptions
from serving.server.grpc_api.listen import listen
from serving.server.methods.examples import classify, multi_inference, regress
from serving.server.methods.model_info import model_metadata, model_status, status_message
from serving.server.methods.model_spec import answer_multi_inference, answer_with_version
from serving.server.methods.predict import predict
from serving.server.models.core import ServerCore
from serving.server.observability.log_lines import REQUEST_ID, log_request, request_id
from serving.server.observability.metrics import Metrics
from serving.server.observability.request_log import RequestLog

Method = Callable[[ServerCore, Any], Any]
"""Answers a request message."""

_MAX_MESSAGE = 2**31 - 1
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
_MEASURED = ("Predict", "Classify", "Regress")

HEALTH_SERVICES = ("", "PredictionService", "ModelService")
"""Service names for health checks: unqualified, as in the real server."""


class GrpcServer:
    """A gRPC server, which listens when it is created and answers once it is started.

    Args:
        core: the models.
        metrics: counts the requests.
        request_log: logs a sample of the requests; None turns that off.

    Attributes:
        port: the port that it listens on; 0 if it listens on a socket path only.

    Raises:
        ConfigError: the port, the socket path or the TLS config cannot be used.
    """

    def __init__(self, core: ServerCore, metrics: Metrics, request_log: RequestLog | None = None) -> None:
        options = core.options
        self._request_log = request_log
        self._logs_requests = options.log_format == "json"
        self._core = core
        self._metrics = metrics
        self._server = grpc.server(
            ThreadPoolExecutor(max(options.grpc_threads, 1), thread_name_prefix="grpc"), options=_arguments(options)
        )
        self._server.add_generic_rpc_handlers(tuple(self._handlers()))
        self._health = health.HealthServicer() if options.health else None
        if self._health is not None:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        _add_reflection(self._server, with_health=options.health)
        self.port = listen(self._server, options)

    def start(self) -> None:
        """Begin to answer."""
        self._server.start()
        self._set_health(health_pb2.HealthCheckResponse.SERVING)

    def stop(self, seconds: float) -> None:
        """Refuse new requests and wait up to `seconds` for the running ones."""
        self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._server.stop(seconds).wait()

    def _set_health(self, status: Any) -> None:
        if self._health is not None:
            for name in HEALTH_SERVICES:
                self._health.set(name, status)

    def _handlers(self) -> list[grpc.GenericRpcHandler[Any, Any]]:
        handlers = {name: dict(methods) for name, methods in METHODS.items()}
        handlers[MODEL_SERVICE]["HandleReloadConfigRequest"] = self._reload
        return [
            grpc.method_handlers_generic_handler(
                name, {method: self._handler(name, method, answer) for method, answer in methods.items()}
            )
            for name, methods in handlers.items()
        ]

    def _handler(self, name: str, method: str, answer: Method) -> grpc.RpcMethodHandler[Any, Any]:
        descriptor = service(name).methods_by_name[method]

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            started = time.monotonic()
            if not context.is_active():
                # The client left while the request waited for a thread; nobody would read the answer.
                context.abort(grpc.StatusCode.CANCELLED, "The client cancelled the request or its deadline has passed.")
            try:
                response = answer(self._core, request)
            except StatusError as exc:
                self._measure(method, request, exc.code, started)
                self._log(method, request, context, started, exc)
                context.abort(_CODES[exc.code.value], exc.grpc_message)
            self._measure(method, request, Code.OK, started)
            self._log(method, request, context, started)
            if self._request_log:
                self._request_log.offer(method, request, response)
            return response

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=GetMessageClass(descriptor.input_type).FromString,
            response_serializer=GetMessageClass(descriptor.output_type).SerializeToString,
        )

    def _log(
        self, method: str, request: Any, context: grpc.ServicerContext, started: float, exc: StatusError | None = None
    ) -> None:
        """Write the request's line of the log and return its id to the client."""
        if not self._logs_requests:
            return
        identity = request_id(context.invocation_metadata())
        context.set_trailing_metadata(((REQUEST_ID, identity),))
        model = request.model_spec.name if hasattr(request, "model_spec") else ""
        code = exc.code if exc else Code.OK
        log_request(
            identity, model=model, api=method, entrypoint="GRPC", status=code.name, seconds=time.monotonic() - started,
            error=exc.message if exc else "",
        )  # fmt: skip

    def _measure(self, method: str, request: Any, code: Code, started: float) -> None:
        if method in _MEASURED:
            self._metrics.record(request.model_spec.name, method, "GRPC", code, time.monotonic() - started)

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
    return [
        ("grpc.max_receive_message_length", _MAX_MESSAGE),
        ("grpc.max_send_message_length", _MAX_MESSAGE),
        ("grpc.so_reuseport", 0),  # a port in use is an error, not shared
        *options.channel_arguments,
    ]


def _add_reflection(server: grpc.Server, *, with_health: bool) -> None:
    names = [PREDICTION_SERVICE, MODEL_SERVICE, reflection.SERVICE_NAME]
    if with_health:
        names.append(health.SERVICE_NAME)
    reflection.enable_server_reflection(names, server, pool=_reflection_pool())


def _reflection_pool() -> DescriptorPool:
    """Return a pool of the services' descriptors and those of health and reflection, which are in protobuf's default pool."""
    pool = new_pool()
    for module in (health_pb2, reflection_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    return pool

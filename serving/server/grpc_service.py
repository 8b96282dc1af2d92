"""The server's gRPC side: PredictionService, ModelService, health and reflection."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from serving.errors import ConfigError
from serving.protocol.messages import MODEL_SERVICE, PREDICTION_SERVICE, new_pool, service, serving_message
from serving.protocol.status import Code, StatusError, invalid_argument
from serving.server.config_files import read_config
from serving.server.core import ServerCore
from serving.server.examples import classify, multi_inference, regress
from serving.server.log_lines import REQUEST_ID, log_request, request_id
from serving.server.metrics import Metrics
from serving.server.models import model_metadata, model_status, status_message
from serving.server.options import ServerOptions
from serving.server.predict import predict
from serving.server.request_log import KINDS, RequestLog

Method = Callable[[ServerCore, Any], Any]

_MAX_MESSAGE = 2**31 - 1
_CODES = {code.value[0]: code for code in grpc.StatusCode}

METHODS: dict[str, dict[str, Method]] = {
    PREDICTION_SERVICE: {
        "Predict": predict,
        "Classify": classify,
        "Regress": regress,
        "MultiInference": multi_inference,
        "GetModelMetadata": model_metadata,
    },
    MODEL_SERVICE: {"GetModelStatus": model_status},
}
_MEASURED = ("Predict", "Classify", "Regress")

HEALTH_SERVICES = ("", "PredictionService", "ModelService")
"""Names that health checks ask for: unqualified, as in the real server."""


class GrpcServer:
    """A gRPC server for a core, listening when made, answering once started.

    Attributes:
        port: the port that it listens on; 0 if it listens on a socket path alone.

    Raises:
        ConfigError: the port or the socket path cannot be used.
    """

    def __init__(self, core: ServerCore, metrics: Metrics, request_log: RequestLog | None = None) -> None:
        options = core.options
        self._request_log = request_log
        self._logs_each = options.log_format == "json"
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
        self.port = _listen(self._server, options)

    def start(self) -> None:
        self._server.start()
        self._set_health(health_pb2.HealthCheckResponse.SERVING)

    def stop(self, seconds: float) -> None:
        """Refuse new requests and wait for those under way."""
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
                # It waited for a thread until its client had gone: nobody reads the answer.
                context.abort(grpc.StatusCode.CANCELLED, "The client cancelled the request or its deadline has passed.")
            try:
                response = answer(self._core, request)
            except StatusError as exc:
                self._measure(method, request, exc.code, started)
                self._tell(method, request, context, started, exc)
                context.abort(_CODES[exc.code.value], exc.grpc_message)
            self._measure(method, request, Code.OK, started)
            self._tell(method, request, context, started)
            if self._request_log and method in KINDS and self._request_log.wants():
                self._request_log.write(method, request, response)
            return response

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=GetMessageClass(descriptor.input_type).FromString,
            response_serializer=GetMessageClass(descriptor.output_type).SerializeToString,
        )

    def _tell(
        self, method: str, request: Any, context: grpc.ServicerContext, started: float, exc: StatusError | None = None
    ) -> None:
        """A line of the log, and the request's id back to its client."""
        if not self._logs_each:
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
        """Answer a ReloadConfigRequest: `metric` tells by how much the counters asked for have grown meanwhile."""
        before = {name: self._metrics.total(name) for name in request.metric_names}
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        core.reload(request.config)
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


def _listen(server: grpc.Server, options: ServerOptions) -> int:
    credentials = _credentials(options)
    if options.grpc_socket_path:
        _bind(server, f"unix:{options.grpc_socket_path}", credentials)
        if not options.grpc_port:
            return 0
    host = f"[{options.host}]" if ":" in options.host else options.host
    return _bind(server, f"{host}:{options.grpc_port}", credentials)


def _bind(server: grpc.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as exc:
        if credentials is not None and _can_listen(address):
            raise ConfigError(
                "ssl_config_file: server_key and server_cert are no key and certificate that belong together.",
                fix="both hold PEM text, not paths: -----BEGIN PRIVATE KEY-----, -----BEGIN CERTIFICATE-----",
            ) from exc
        fix = "stop what uses it, or choose another with --port"
        raise ConfigError(f"gRPC cannot listen on {address}.", fix=fix) from exc


def _can_listen(address: str) -> bool:
    """Whether it was not the address that gRPC could not use."""
    if address.startswith("unix:"):
        return True
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.socket(family) as probe:
        return probe.connect_ex((host.strip("[]"), int(port))) != 0


def _credentials(options: ServerOptions) -> grpc.ServerCredentials | None:
    """TLS as ssl_config_file has it: its fields hold PEM text, not paths (config/ssl_config.proto)."""
    if not options.ssl_config_file:
        return None
    config = read_config(str(Path(options.ssl_config_file)), "SSLConfig")
    needed = ("server_key", "server_cert", *(("custom_ca",) if config.client_verify else ()))
    for name in needed:
        if not getattr(config, name):
            why = " (client_verify has clients' certificates checked against it)" if name == "custom_ca" else ""
            raise ConfigError(f"{options.ssl_config_file} has no {name}{why}.", fix="give its PEM text")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


def _add_reflection(server: grpc.Server, *, with_health: bool) -> None:
    names = [PREDICTION_SERVICE, MODEL_SERVICE, reflection.SERVICE_NAME]
    if with_health:
        names.append(health.SERVICE_NAME)
    reflection.enable_server_reflection(names, server, pool=_reflection_pool())


def _reflection_pool() -> DescriptorPool:
    """The services' descriptors together with those of health and reflection, which live in protobuf's default pool."""
    made = new_pool()
    for module in (health_pb2, reflection_pb2):
        made.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    return made

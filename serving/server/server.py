"""The server as a whole: load, open the ports, answer, drain and stop."""

from __future__ import annotations

import gc
import logging
import signal
import threading
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from serving.errors import ConfigError
from serving.protocol.status import Code, StatusError
from serving.server.batching import AnyServable, Batching
from serving.server.config_files import model_server_config, prefers_tflite, read_config
from serving.server.core import Handle, ServerCore
from serving.server.examples import classify_with, multi_inference_with, regress_with
from serving.server.grpc_service import GrpcServer
from serving.server.memory import freeze
from serving.server.metrics import DEFAULT_PATH, Metrics
from serving.server.options import LOCALHOST, ServerOptions, cores
from serving.server.playground import Playground
from serving.server.predict import predict_with
from serving.server.request_log import RequestLog
from serving.server.rest import RestApi
from serving.server.rest_server import RestServer
from serving.server.tflite_servable import TfliteOptions, TfliteServable

log = logging.getLogger(__name__)


class Server:
    """A TensorFlow Serving-compatible server in this process.

        with Server("dist/digits") as server:
            Client(f"localhost:{server.grpc_port}").predict("digits", image=array)

    Args:
        source: the folder of a bundle, a models.config file, the base path of one model (a folder of version folders,
            served under the folder's name), or complete options.
        grpc_port, rest_port: 0 picks a free port; rest_port None serves no REST.
        host: address to listen on.
        options: further fields of ServerOptions.

    Attributes:
        owns_process: whether nothing else runs in this process (`serve`): its memory is then looked after, see
            `serving.server.memory`.

    Raises:
        ConfigError: there is nothing to serve at `source`.
    """

    def __init__(
        self,
        source: str | Path | ServerOptions,
        *,
        grpc_port: int = 0,
        rest_port: int | None = 0,
        host: str = LOCALHOST,
        **options: Any,
    ) -> None:
        if isinstance(source, ServerOptions):
            self.options = source
        else:
            chosen = {"host": host, "grpc_port": grpc_port, "rest_port": rest_port, **options}
            self.options = _options_for(Path(source), chosen)
        self.metrics = Metrics()
        self._batching: Batching | None = None
        self._request_log: RequestLog | None = None
        self.core = ServerCore(self.options, self._load, self.metrics)
        self._grpc: GrpcServer | None = None
        self._rest: RestServer | None = None
        self._stopped = threading.Event()
        self.owns_process = False
        self._freezing = threading.Lock()

    @property
    def grpc_port(self) -> int:
        """The port of gRPC: the one really listened on once started."""
        return self._grpc.port if self._grpc else self.options.grpc_port

    @property
    def rest_port(self) -> int | None:
        """The port of REST, None if there is none."""
        return self._rest.port if self._rest else self.options.rest_port

    def start(self) -> Server:
        """Load the models, then open the ports.

        Raises:
            StatusError: the config or a model is wrong.
            ConfigError: a port cannot be used, or the folder is no bundle.
        """
        self.options.check()
        # First, as the real server tells its faults before those of the options that follow.
        config = model_server_config(self.options)
        try:
            self._make_parts()
            self.options.check_session()
            self.core.start(config)
            self._open_ports()
        except BaseException:
            self.stop()
            raise
        return self

    def _make_parts(self) -> None:
        if self.options.enable_batching:
            self._batching = Batching(self.options)
            self.metrics.include(self._batching.metrics.lines)
        if self.options.log_requests:
            tags, rate = self.options.saved_model_tags, self.options.log_requests_sample_rate
            self._request_log = RequestLog(self.options.log_requests, rate, tags)

    def _load(self, name: str, version: int, path: str) -> AnyServable:
        """Load a version and answer its warm-up records, so that it is quick from its first request on.

        TensorFlow is imported by the first load: a server that cannot start says so at once.
        """
        from serving.server.warmup import warm_up

        with self._freezing:
            if self.owns_process and not gc.get_freeze_count():
                freeze()
        options = self.options
        servable = _servable(path, options)
        try:
            if self._batching:
                servable = self._batching.wrap(servable)
            if options.warmup:
                handle = Handle(name, version, servable, self.metrics)
                warm_up(
                    path, lambda record: _answer(handle, record, options),
                    iterations=options.warmup_iterations, metrics=self.metrics,
                )  # fmt: skip
        except BaseException:
            servable.close()
            raise
        return servable

    def _open_ports(self) -> None:
        self._grpc = GrpcServer(self.core, self.metrics, self._request_log)
        self._grpc.start()
        log.info("Running gRPC ModelServer at %s:%d ...", self.options.host, self._grpc.port)
        if self.options.rest_port is None:
            return
        playground = Playground(self.core, self._grpc.port or None, bool(self.options.ssl_config_file))
        api = RestApi(
            self.core, self.metrics, _metrics_path(self.options), playground if self.options.playground else None,
            self._request_log,
        )
        self._rest = RestServer(api, self.options)
        self._rest.start()
        log.info("Exporting HTTP/REST API at:%s:%d ...", self.options.host, self._rest.port)

    def stop(self) -> None:
        """Refuse new requests, answer those under way, unload the models. May be called again."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        closing = threading.Thread(target=self._rest.stop) if self._rest else None
        if closing:
            closing.start()
        if self._grpc:
            self._grpc.stop(self.options.grace_seconds)
        if closing:
            closing.join()
        self.core.stop()
        if self._request_log:
            self._request_log.close()
        if self._batching:
            self._batching.stop()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def serve(options: ServerOptions) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first. For the main thread.

    Raises:
        StatusError: the config or a model is wrong.
        ConfigError: a port cannot be used, or the folder is no bundle.
    """
    asked = threading.Event()
    server = Server(options)
    server.owns_process = True

    def stop(number: int, frame: FrameType | None) -> None:
        log.info("%s: answering the requests under way, then stopping.", signal.Signals(number).name)
        asked.set()
        server.core.interrupt()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.start()
        asked.wait()
    except StatusError as exc:
        if not (asked.is_set() and exc.code is Code.CANCELLED):
            raise
    finally:
        server.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _options_for(source: Path, chosen: dict[str, Any]) -> ServerOptions:
    """Options for a path. A bundle's files are complete when they appear: a load that fails is not tried again, and
    labels may name versions that are only now being loaded."""
    local = replace(ServerOptions(), max_load_retries=0, allow_labels_for_unavailable=True, health=True)
    if source.is_file():
        return replace(local, model_config_file=str(source), **chosen)
    if (source / "models").is_dir():
        return replace(local, **{"bundle": str(source), "prefer_tflite": prefers_tflite(source), **chosen})
    if source.is_dir():
        return replace(local, model_name=source.name, model_base_path=str(source.absolute()), **chosen)
    raise ConfigError(
        f"There is nothing to serve at {source}.", fix="give a bundle's folder, a models.config or a model's base path"
    )


def _metrics_path(options: ServerOptions) -> str | None:
    if not options.monitoring_config_file:
        return None
    config = read_config(options.monitoring_config_file, "MonitoringConfig").prometheus_config
    return (config.path or DEFAULT_PATH) if config.enable else None


def _servable(path: str, options: ServerOptions) -> AnyServable:
    """The model.tflite of a version's folder where it is preferred and there, else the SavedModel, as the real server
    chooses (servables/tensorflow/saved_model_bundle_factory.cc)."""
    if options.prefer_tflite and TfliteServable.is_at(path):
        return TfliteServable.load(path, TfliteOptions(options.tflite_pool_size, options.threads[0] or cores()))
    from serving.server.servable import Servable, SessionOptions

    return Servable.load(path, SessionOptions(options.saved_model_tags, *options.threads))


def _answer(handle: Handle, record: Any, options: ServerOptions) -> None:
    """Answer one PredictionLog message; one without a request is passed over (servables/tensorflow/saved_model_warmup.cc).

    Raises:
        StatusError: UNIMPLEMENTED: a kind that is not answered, by the number of its field; else what its request fails with.
    """
    kind = record.WhichOneof("log_type")
    if kind is None:
        return
    answers = {
        "predict_log": predict_with,
        "classify_log": classify_with,
        "regress_log": regress_with,
        "multi_inference_log": multi_inference_with,
    }
    if kind not in answers:
        number = record.DESCRIPTOR.fields_by_name[kind].number
        raise StatusError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")
    answers[kind](handle, getattr(record, kind).request, options)

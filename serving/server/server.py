"""The whole server: load the models, open the ports, answer, drain and stop."""

from __future__ import annotations

import gc
import inspect
import logging
import threading
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from types import TracebackType
from typing import Any

from serving.client import arguments
from serving.errors import ConfigError
from serving.protocol.status import Code, StatusError
from serving.quiet import quiet_tensorflow
from serving.server.batching import Batching
from serving.server.config.files import bundle_settings, model_server_config, read_config
from serving.server.config.limits import check_limits
from serving.server.config.options import LOCALHOST, ServerOptions
from serving.server.config.ports import check_ports
from serving.server.grpc_api.service import GrpcServer
from serving.server.methods.prediction_log import answer_log
from serving.server.models.core import Handle, ServerCore
from serving.server.models.memory import freeze
from serving.server.models.reload_paths import check_flag
from serving.server.observability.metrics import DEFAULT_PATH, Metrics
from serving.server.observability.request_log import RequestLog
from serving.server.observability.tracing import Spans
from serving.server.rest_api.api import RestApi
from serving.server.rest_api.codec_process import CodecProcesses
from serving.server.rest_api.playground import Playground
from serving.server.rest_api.server import RestServer
from serving.server.servables.load import load_servable
from serving.server.servables.protocol import Servable
from serving.server.signals import ShutdownSignals, leave
from serving.tracing.provider import Provider

log = logging.getLogger(__name__)


class Server:
    """A TensorFlow Serving-compatible server in this process.

        with Server("dist/digits") as server:
            Client(f"localhost:{server.grpc_port}").predict("digits", image=array)

    Args:
        source: the folder of a bundle, a models.config file, the base path of one model (a folder of version folders,
            served under the folder's name), or complete options.
        grpc_port: 0 picks a free port.
        rest_port: 0 picks a free port, None turns REST off.
        host: address to listen on.
        options: further fields of ServerOptions.

    Attributes:
        options: the complete options.
        metrics: the server's counters.
        core: the models.
        accepts: whether a port has been opened.
        loads_abandoned: whether `stop()` has left a load running.
        owns_process: whether nothing else runs in this process (`serve`); the garbage collector is then tuned for the
            server, see `serving.server.models.memory`.

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
            named = {"host": host, "grpc_port": grpc_port, "rest_port": rest_port, **options}
            self.options = _options_for(_path(source), _checked(named))
        quiet_tensorflow()
        self.metrics = Metrics()
        self._batching: Batching | None = None
        self._request_log: RequestLog | None = None
        self._traces: Provider | None = None
        self.core = ServerCore(self.options, self._load, self.metrics)
        self._grpc: GrpcServer | None = None
        self._rest: RestServer | None = None
        self._stopped = threading.Event()
        self.accepts = False
        self.loads_abandoned = False
        self.owns_process = False
        self._freezing = threading.Lock()

    @property
    def grpc_port(self) -> int:
        """The gRPC port; once started, the port that the server listens on."""
        return self._grpc.port if self._grpc else self.options.grpc_port

    @property
    def rest_port(self) -> int | None:
        """The REST port; None if REST is off."""
        return self._rest.port if self._rest else self.options.rest_port

    def __repr__(self) -> str:
        """Return what is served, where, and whether the server runs."""
        options = self.options
        source = options.bundle or options.model_config_file or options.model_base_path
        state = "stopped" if self._stopped.is_set() else "running" if self._grpc else "not started"
        rest = f", rest_port={self.rest_port}" if self.rest_port is not None else ""
        return f"Server({source!r}, host={options.host!r}, grpc_port={self.grpc_port}{rest}, {state})"

    def start(self) -> Server:
        """Check that the ports are free, load the models, then open the ports.

        Raises:
            StatusError: the config or a model is wrong.
            ConfigError: a port cannot be used, the folder is not a bundle, there are too few files or threads left, or a
                variable of OpenTelemetry is wrong.
            MissingExtraError: tracing is on, and its packages are not installed.
        """
        self.options.check()
        check_flag(self.options)
        # The real server reports errors of the model config before those of the remaining options.
        config = model_server_config(self.options)
        check_limits()
        check_ports(self.options)
        try:
            self._prepare()
            self.options.check_session()
            self.core.start(config)
            self.accepts = True
            self._open_ports()
        except BaseException:
            self.stop()
            raise
        return self

    def _prepare(self) -> None:
        if self.options.tracing:
            self._traces = Provider()
        if self.options.enable_batching:
            self._batching = Batching(self.options)
            self.metrics.include(self._batching.metrics.lines)
        if self.options.log_requests:
            tags, rate = self.options.saved_model_tags, self.options.log_requests_sample_rate
            self._request_log = RequestLog(self.options.log_requests, rate, tags)

    def _load(self, name: str, version: int, path: str) -> Servable:
        """Load a version and answer its warm-up records.

        The first load imports TensorFlow, so that a server with wrong options fails at once.
        """
        from serving.server.servables.warmup import warm_up

        with self._freezing:
            if self.owns_process and not gc.get_freeze_count():
                freeze()
        options = self.options
        servable = load_servable(path, options, self.metrics)
        try:
            if self._batching:
                servable = self._batching.wrap(servable)
            if options.warmup:
                handle = Handle(name, version, servable, self.metrics)
                warm_up(
                    path, lambda record: answer_log(handle, record, options),
                    iterations=options.warmup_iterations, metrics=self.metrics,
                )  # fmt: skip
        except BaseException:
            servable.close()
            raise
        return servable

    def _open_ports(self) -> None:
        spans = Spans(self._traces.tracer) if self._traces else None
        self._grpc = GrpcServer(self.core, self.metrics, self._request_log, spans)
        self._grpc.start()
        log.info("Running gRPC ModelServer at %s:%d ...", self.options.host, self._grpc.port)
        if self.options.rest_port is None:
            return
        playground = Playground(self.core, self._grpc.port or None, bool(self.options.ssl_config_file))
        api = RestApi(
            self.core, self.metrics, _metrics_path(self.options), playground if self.options.playground else None,
            self._request_log, CodecProcesses(self.options),
        )
        self._rest = RestServer(api, self.options, spans)
        self._rest.start()
        log.info("Exporting HTTP/REST API at:%s:%d ...", self.options.host, self._rest.port)

    def stop(self) -> None:
        """Refuse new requests, answer the running ones, then unload the models. Further calls do nothing."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        rest_stop = threading.Thread(target=self._rest.stop) if self._rest else None
        if rest_stop:
            rest_stop.start()
        if self._grpc:
            self._grpc.stop(self.options.grace_seconds)
        if rest_stop:
            rest_stop.join()
        # A process that only serves ends without waiting for loads, which may take minutes.
        self.loads_abandoned = not self.core.stop(abandon_loads=self.owns_process)
        if self._request_log:
            self._request_log.close()
        if self._batching and not self.loads_abandoned:
            self._batching.stop()
        if self._traces:
            self._traces.stop()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _with_options() -> inspect.Signature:
    """Return the signature of `Server` with each field of ServerOptions as a keyword, for help() and editors."""
    own = [p for p in inspect.signature(Server.__init__).parameters.values() if p.kind is not p.VAR_KEYWORD][1:]
    known = {parameter.name for parameter in own}
    options = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=..., annotation=field.type)
        for field in dataclass_fields(ServerOptions)
        if field.name not in known
    ]
    return inspect.Signature([*own, *options])


Server.__signature__ = _with_options()  # type: ignore[attr-defined]


def serve(options: ServerOptions) -> None:
    """Serve until SIGTERM or SIGINT, then answer the running requests and stop. Must be called in the main thread.

    `serving.server.signals` says when the process ends at once, and with which exit code.

    Raises:
        StatusError: the config or a model is wrong.
        ConfigError: a port cannot be used, or the folder is not a bundle.
    """
    server = Server(options)
    server.owns_process = True
    with ShutdownSignals(
        accepts=lambda: server.accepts, interrupt=server.core.interrupt, grace_seconds=options.grace_seconds
    ) as signals:
        try:
            server.start()
            signals.requested.wait()
        except StatusError as exc:
            if not (signals.requested.is_set() and exc.code is Code.CANCELLED):
                raise
        finally:
            server.stop()
        if server.loads_abandoned:
            leave(0)


def _path(source: object) -> Path:
    if not isinstance(source, str | PathLike):
        what = f"The argument source is not a path: {arguments.shown(source)}."
        raise ConfigError(
            what, fix="give a bundle's folder, a models.config file or a model's base path", code="TFB6003"
        )
    text = arguments.text(fspath(source), "source")
    if not text or "\0" in text:
        raise ConfigError(
            f"The argument source is not a path: {arguments.shown(text)}.",
            fix="use Path('.') for this folder",
            code="TFB6003",
        )
    return Path(text)


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """Return fields of ServerOptions as given, after checks of their names and of the ports and the address."""
    known = [field.name for field in dataclass_fields(ServerOptions)]
    if unknown := sorted(set(options) - set(known)):
        raise ConfigError(
            f"Server has no option {unknown[0]!r}.", fix=f"use one of: {', '.join(known)}", code="TFB6001"
        )
    arguments.text(options["host"], "host")
    for name in ("grpc_port", "rest_port"):
        if options[name] is not None or name == "grpc_port":
            options[name] = arguments.integer(options[name], name, 0, 65535)
    return options


def _options_for(source: Path, fields: dict[str, Any]) -> ServerOptions:
    """Return the options for a path, changed by `fields`.

    Version folders are complete when they appear, so a failed load is not repeated. Labels may name versions that are still
    being loaded.
    """
    local = replace(ServerOptions(), max_load_retries=0, allow_labels_for_unavailable=True, health=True)
    if source.is_file():
        return replace(local, model_config_file=str(source), **fields)
    if (source / "models").is_dir():
        return replace(local, **{"bundle": str(source), **bundle_settings(source), **fields})
    if source.is_dir() and any(path.name.isdecimal() for path in source.iterdir()):
        return replace(local, model_name=source.name, model_base_path=str(source.absolute()), **fields)
    reason = ", which has neither a folder `models` nor folders of versions (1, 2, …)" if source.is_dir() else ""
    raise ConfigError(
        f"There is nothing to serve at {source}{reason}.",
        fix="give a bundle's folder, a models.config file or a model's base path",
        code="TFB6003",
    )


def _metrics_path(options: ServerOptions) -> str | None:
    if not options.monitoring_config_file:
        return None
    config = read_config(options.monitoring_config_file, "MonitoringConfig").prometheus_config
    return (config.path or DEFAULT_PATH) if config.enable else None

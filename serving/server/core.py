"""The models that a server has: their config, its reloads, version labels, and the way from a request to a servable.

Rules and texts are those of model_servers/server_core.cc.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from serving.protocol.status import Code, StatusError, failed_precondition, invalid_argument
from serving.server.config_files import TENSORFLOW, ConfigTextError, in_bundle, model_server_config
from serving.server.manager import Loader, Manager
from serving.server.metrics import Metrics
from serving.server.options import ServerOptions
from serving.server.sources import FileSystemSource, ServableSource, find_versions, is_absolute, no_versions
from serving.server.states import ManagerState, StateBoard

log = logging.getLogger(__name__)


class Handle(NamedTuple):
    """A version in use: its model, version and servable, and what counts its runs."""

    name: str
    version: int
    servable: Any
    metrics: Metrics

    @property
    def signatures(self) -> dict[str, Any]:
        found: dict[str, Any] = self.servable.signatures
        return found

    def run(self, feeds: Mapping[str, Any], fetches: Sequence[str], api: str | None = "Predict") -> list[Any]:
        """Run the servable. The time of a run that succeeds counts for `api`; as in the real server, MultiInference
        (None) counts for none."""
        started = time.monotonic()
        results: list[Any] = self.servable.run(feeds, fetches)
        if api is not None:
            self.metrics.ran(self.name, api, time.monotonic() - started)
        return results


class ServerCore:
    """Models and their versions, behind the names that requests use."""

    def __init__(self, options: ServerOptions, load: Loader, metrics: Metrics) -> None:
        self.options = options
        self._metrics = metrics
        self._manager = Manager(
            load,
            retries=options.max_load_retries,
            retry_seconds=options.load_retry_seconds,
            settle_seconds=options.settle_seconds,
            threads=options.num_load_threads or options.rest_threads,
        )
        self._source = FileSystemSource(self._manager.aspire, options.poll_seconds)
        self._config: Any = None
        self._config_lock = threading.Lock()
        self._labels: dict[str, dict[str, int]] = {}
        self._stopping = threading.Event()
        self._poller: threading.Thread | None = None

    @property
    def board(self) -> StateBoard:
        return self._manager.board

    def start(self, config: Any) -> None:
        """Load the models of a ModelServerConfig and wait for them.

        Raises:
            StatusError: the config is wrong, or a model did not become available.
        """
        with self._config_lock:
            self._accept(config)
            self._manager.start()
            self._source.update(_sources(config))
            self._source.start()
            self._await(self.board, [model.name for model in config.model_config_list.config], "servable(s)")
            # One version a model is what the real server waits for; here labels work from the first request on.
            self._manager.wait_for_first_attempts()
            _check_logging(config)
        if self.options.config_poll_seconds > 0 and (self.options.model_config_file or self.options.bundle):
            self._poller = threading.Thread(target=self._poll_config, name="config-poll", daemon=True)
            self._poller.start()

    def models(self) -> dict[str, dict[str, int]]:
        """Labels with their versions, by model: those of the current config, in its order."""
        names = [model.name for model in self._config.model_config_list.config]
        return {name: dict(self._labels.get(name, {})) for name in names}

    def interrupt(self) -> None:
        """Give up waiting for models to load; `start()` or `reload()` then fails with CANCELLED."""
        self._stopping.set()

    def stop(self) -> None:
        """Unload all models, after the requests that use them."""
        self.interrupt()
        if self._poller is not None:
            self._poller.join()
        self._source.stop()
        self._manager.stop()

    def reload(self, config: Any) -> None:
        """Serve the models of another ModelServerConfig.

        Returns when models that are new have a version that serves; it does not wait for further versions of the others.

        Raises:
            StatusError: what is wrong with it. As in the real server, a config that passes the first checks stays the
                current one even if a later step fails.
        """
        if self.options.bundle:
            config = in_bundle(config, Path(self.options.bundle))
        with self._config_lock:
            new = {model.name for model in config.model_config_list.config} - self._source.names
            self._accept(config)
            sources = _sources(config)
            _check_new(sources, new)
            # States from now on: a new model's versions may be listed as ended from an earlier time.
            fresh = StateBoard()
            unsubscribe = self.board.subscribe(fresh.publish)
            try:
                self._source.update(sources)
                self._await(fresh, sorted(new), "model(s)")
            finally:
                unsubscribe()
            _check_logging(config)

    def _accept(self, config: Any) -> None:
        """Check a config, make it the current one and take over its labels."""
        _check_list(config)
        if self._config is not None:
            _check_platforms(self._config, config)
        self._config = config
        self._labels = self._checked_labels(config)
        for model in config.model_config_list.config:
            if _platform(model) != TENSORFLOW:
                raise invalid_argument(f"Model {model.name} requests unsupported platform {model.model_platform}")

    def _checked_labels(self, config: Any) -> dict[str, dict[str, int]]:
        labels: dict[str, dict[str, int]] = {}
        for model in config.model_config_list.config:
            for label, version in sorted(model.version_labels.items(), reverse=True):
                moved = self._labels.get(model.name, {}).get(label, version) != version
                allowed = self.options.allow_labels_for_unavailable and not moved
                if not allowed and not self.board.is_available(model.name, version):
                    raise failed_precondition(
                        f"Request to assign label to version {version} of model {model.name}, "
                        "which is not currently available for inference"
                    )
                labels.setdefault(model.name, {})[label] = version
        return labels

    def _await(self, board: StateBoard, names: list[str], what: str) -> None:
        reached = board.wait_for_models(names, stopped=self._stopping.is_set)
        if self._stopping.is_set():
            raise StatusError(Code.CANCELLED, "The server was stopped while it loaded its models.")
        failed = [state for state in reached if state.state is not ManagerState.AVAILABLE]
        if failed:
            each = "".join(
                f"{{{state.servable}" + (f" due to error: {state.error}" if state.error else "") + "}, "
                for state in failed
            )
            raise StatusError(Code.UNKNOWN, f"{len(failed)} {what} did not become available: {{{each}}}")

    def _poll_config(self) -> None:
        while not self._stopping.wait(self.options.config_poll_seconds):
            try:
                self.reload(model_server_config(self.options))
            except ConfigTextError as exc:
                log.warning("Failed to read ModelServerConfig file: %s: %s", exc.message, exc.detail)
            except StatusError as exc:
                log.warning("The model config was read again but not taken over: %s", exc)

    def look_for_versions(self) -> None:
        """Look at the file system now, besides the regular times."""
        self._source.poll()

    @contextmanager
    def servable(self, model_spec: Any) -> Iterator[Handle]:
        """The version that a ModelSpec message means, kept from unloading while it is used.

        Raises:
            StatusError: INVALID_ARGUMENT: no name, or an unknown label; NOT_FOUND: no such version serves.
        """
        if not model_spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        version = self._requested_version(model_spec)
        with self._manager.servable(model_spec.name, version) as (found, servable):
            yield Handle(model_spec.name, found, servable, self._metrics)

    def _requested_version(self, model_spec: Any) -> int | None:
        choice = model_spec.WhichOneof("version_choice")
        if choice is None:
            return None
        if choice == "version":
            return int(model_spec.version.value)
        label = model_spec.version_label
        version = self._labels.get(model_spec.name, {}).get(label)
        if version is None:
            raise invalid_argument(f"Unrecognized servable version label: {label}")
        return version


def _sources(config: Any) -> dict[str, ServableSource]:
    return {
        model.name: ServableSource(model.name, model.base_path, model.model_version_policy)
        for model in config.model_config_list.config
    }


def _check_list(config: Any) -> None:
    if config.WhichOneof("config") == "custom_model_config":
        raise invalid_argument("ModelServer does not support custom model config.")
    seen: set[str] = set()
    for model in config.model_config_list.config:
        if model.name in seen:
            raise invalid_argument(f"Illegal to list model {model.name} multiple times in config list")
        seen.add(model.name)
    for model in config.model_config_list.config:
        if not is_absolute(model.base_path):
            raise invalid_argument(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            )


def _check_platforms(old: Any, new: Any) -> None:
    """A model keeps its platform. The old config is checked as well, whatever it holds by now: see `reload`."""
    platforms = {model.name: _platform(model) for model in old.model_config_list.config}
    for model in new.model_config_list.config:
        if model.name in platforms and _platform(model) != platforms[model.name]:
            raise invalid_argument(
                f"Illegal to change a model's platform. For model {model.name} platform was {platforms[model.name]} "
                f"and new platform requested is {_platform(model)}"
            )


def _platform(model: Any) -> str:
    if model.model_type:
        if model.model_platform:
            raise invalid_argument(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                f"ModelServerConfig::model_platform, model name is {model.name}"
            )
        if model.model_type != 1:
            raise invalid_argument(f"ModelServerConfig::model_type choice {model.model_type} not supported.")
        return TENSORFLOW
    if not model.model_platform:
        raise invalid_argument(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {model.name}"
        )
    return str(model.model_platform)


def _check_new(sources: dict[str, ServableSource], new: set[str]) -> None:
    """The real server would wait for ever, and every later reload with it, for a new model that has nothing to load."""
    for name in sorted(new):
        if not find_versions(sources[name]):
            raise invalid_argument(no_versions(sources[name]))


def _check_logging(config: Any) -> None:
    """The binary has no request logger for a model's `logging_config` and says so once the models are taken over
    (core/server_request_logger.cc)."""
    if any(model.HasField("logging_config") for model in config.model_config_list.config):
        raise invalid_argument("No request-logger-creator provided.")

"""The models of a server: their config and its reloads, version labels, and the way from a request to a servable.

Rules and texts are those of model_servers/server_core.cc.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from serving.errors import ConfigError
from serving.protocol.status import Code, RefusedModelError, StatusError, failed_precondition, invalid_argument
from serving.protocol.tensors import Array
from serving.server.config.files import TENSORFLOW, ConfigTextError, in_bundle, model_server_config
from serving.server.config.options import ServerOptions
from serving.server.models.manager import Loader, Manager
from serving.server.models.reload_paths import check_reload
from serving.server.models.sources import FileSystemSource, ServableSource, find_versions, is_absolute, no_versions
from serving.server.models.states import ManagerState, ServableState, StateBoard
from serving.server.observability.metrics import Metrics
from serving.server.observability.tracing import describe, mark
from serving.server.servables.protocol import Servable
from serving.tracing import names

log = logging.getLogger(__name__)

_JOIN_SECONDS = 2.0
"""How long a stop waits for a thread that may hang in a file system."""

_MOST_DETAIL = 200
"""Characters of a parser's message that are logged; it quotes the file, which may be of any kind."""


class Handle(NamedTuple):
    """A version in use.

    Attributes:
        name: the model's name.
        version: the version's number.
        servable: the loaded version.
        metrics: records the version's runs.
    """

    name: str
    version: int
    servable: Servable
    metrics: Metrics

    @property
    def signatures(self) -> dict[str, Any]:
        """The servable's signatures."""
        return self.servable.signatures

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str], api: str | None = "Predict") -> list[Array]:
        """Run the servable and record the time if it succeeds.

        Args:
            feeds: tensor name -> array.
            fetches: names of the tensors to compute.
            api: method that the time counts for; None (MultiInference, as in the real server) does not count.

        Returns:
            One array per name in `fetches`.

        Raises:
            StatusError: the run failed.
        """
        started = time.monotonic()
        results = self.servable.run(feeds, fetches)
        mark("encode")
        if api is not None:
            self.metrics.record_run(self.name, api, time.monotonic() - started)
        return results


class ServerCore:
    """Finds the versions that requests name, and keeps the models as the config says.

    Args:
        options: the server's options.
        load: loads a version.
        metrics: records runs.
    """

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
        self._source = FileSystemSource(
            self._manager.aspire, options.poll_seconds, always_present=options.versions_always_present
        )
        self._config: Any = None
        self._own_config: Any = None
        self._config_lock = threading.Lock()
        self._labels: dict[str, dict[str, int]] = {}
        self._stopping = threading.Event()
        self._poller: threading.Thread | None = None

    @property
    def board(self) -> StateBoard:
        """The states of all versions."""
        return self._manager.board

    def start(self, config: Any) -> None:
        """Load the models of a ModelServerConfig message and wait for them.

        Raises:
            StatusError: the config is wrong, or a model did not become available.
        """
        self._own_config = config
        with self._config_lock:
            self._accept(config)
            self._manager.start()
            self._source.update(_sources(config))
            self._source.start()
            names = [model.name for model in config.model_config_list.config]
            self._await(self.board, names, "servable(s)", unless=self._serves_all_but_refused)
            # The real server waits for one version per model only; here labels work from the first request on.
            self._manager.wait_for_first_attempts()
            _check_logging(config)
        if self.options.config_poll_seconds > 0 and (self.options.model_config_file or self.options.bundle):
            self._poller = threading.Thread(target=self._poll_config, name="config-poll", daemon=True)
            self._poller.start()

    def models(self) -> dict[str, dict[str, int]]:
        """Return the models of the current config in its order, each with its labels (label -> version)."""
        names = [model.name for model in self._config.model_config_list.config]
        return {name: dict(self._labels.get(name, {})) for name in names}

    def interrupt(self) -> None:
        """Stop waiting for models to load: `start()` or `reload()` fails with CANCELLED."""
        self._stopping.set()

    def stop(self, *, abandon_loads: bool = False) -> bool:
        """Unload all models after the requests that use them end; see `Manager.stop` for argument and result."""
        self.interrupt()
        if self._poller is not None:
            self._poller.join(_JOIN_SECONDS)
        self._source.stop()
        return self._manager.stop(abandon_loads=abandon_loads)

    def reload_for_client(self, config: Any) -> None:
        """Serve the models of a client's ModelServerConfig message, if the client may load them (`models.reload_paths`).

        Raises:
            StatusError: PERMISSION_DENIED: a base path is not allowed; else as in `reload`.
        """
        _check_list(config)
        check_reload(self._located(config), self._own_config, self.options)
        self.reload(config)

    def _located(self, config: Any) -> Any:
        return in_bundle(config, Path(self.options.bundle)) if self.options.bundle else config

    def reload(self, config: Any) -> None:
        """Serve the models of another ModelServerConfig message.

        Return when each new model has a version that serves, without waiting for new versions of the other models.

        Raises:
            StatusError: the config is wrong. As in the real server, a config that passes the first checks becomes the
                current config even if a later step fails.
        """
        config = self._located(config)
        with self._config_lock:
            new = {model.name for model in config.model_config_list.config} - self._source.names
            self._accept(config)
            sources = _sources(config)
            _check_new(sources, new)
            new_states = StateBoard()
            unsubscribe = self.board.subscribe(_states_of_new_loads(new_states))
            try:
                self._source.update(sources)
                self._await(new_states, sorted(new), "model(s)")
            finally:
                unsubscribe()
            _check_logging(config)

    def _accept(self, config: Any) -> None:
        """Check a config and make it and its labels the current ones."""
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

    def _serves_all_but_refused(self, failed: Sequence[ServableState]) -> bool:
        """Return whether the failed models were refused for what they are, which the real server never does, and others serve."""
        if not all(isinstance(state.error, RefusedModelError) for state in failed):
            return False
        self._manager.wait_for_first_attempts()
        return any(self.board.is_available(state.name, state.version) for state in self.board.all())

    def _await(
        self, board: StateBoard, names: list[str], noun: str, unless: Callable[[Sequence[ServableState]], bool] | None = None
    ) -> None:
        reached = board.wait_for_models(names, stopped=self._stopping.is_set)
        if self._stopping.is_set():
            raise StatusError(Code.CANCELLED, "The server was stopped while loading its models.")
        failed = [state for state in reached if state.state is not ManagerState.AVAILABLE]
        if failed and not (unless and unless(failed)):
            reasons = "".join(
                f"{{{state.servable}" + (f" due to error: {state.error}" if state.error else "") + "}, "
                for state in failed
            )
            raise StatusError(Code.UNKNOWN, f"{len(failed)} {noun} did not become available: {{{reasons}}}")

    def _poll_config(self) -> None:
        reported = ""
        while not self._stopping.wait(self.options.config_poll_seconds):
            problem = self._reload_own_config()
            # A file that stays wrong is read again at every poll; its error is logged once.
            if problem and problem != reported:
                log.warning("%s", problem)
            reported = problem

    def _reload_own_config(self) -> str:
        """Read the config file and apply it. Return what is wrong with it, or an empty text."""
        try:
            config = model_server_config(self.options)
            self._own_config = config
            self.reload(config)
        except ConfigTextError as exc:
            return f"Failed to read ModelServerConfig file: {exc.message}: {exc.detail[:_MOST_DETAIL]}"
        except (StatusError, ConfigError) as exc:
            return f"The model config was read again but could not be applied: {exc}"
        return ""

    def look_for_versions(self) -> None:
        """Scan the file system for versions now."""
        self._source.poll()

    @contextmanager
    def servable(self, model_spec: Any) -> Iterator[Handle]:
        """Hold the version that a ModelSpec message names, so that it is not unloaded within the block.

        Raises:
            StatusError: INVALID_ARGUMENT: the name is missing or the label unknown; NOT_FOUND: no such version serves.
        """
        if not model_spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        describe(names.MODEL_NAME, model_spec.name)
        version = self._requested_version(model_spec)
        with self._manager.servable(model_spec.name, version) as (number, servable):
            describe(names.MODEL_VERSION, number)
            yield Handle(model_spec.name, number, servable, self._metrics)

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


def _states_of_new_loads(board: StateBoard) -> Callable[[ServableState], None]:
    """Return a listener that publishes states on a board, but not those of a version before it starts.

    A version of a model that was removed and is added again may still be unloaded, and its end says nothing of the new load.
    """
    started: set[str] = set()

    def listen(state: ServableState) -> None:
        if state.state is ManagerState.START:
            started.add(state.servable)
        if state.servable in started:
            board.publish(state)

    return listen


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
    """Raise if a model's platform changes. The old config is checked too, as it may be one whose reload failed."""
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
    """Raise if a new model has no version to load: the real server would wait for ever, and later reloads with it."""
    for name in sorted(new):
        if not find_versions(sources[name]):
            raise invalid_argument(no_versions(sources[name]))


def _check_logging(config: Any) -> None:
    """Raise if a model has a `logging_config`: the real binary has no request logger for it (core/server_request_logger.cc)."""
    if any(model.HasField("logging_config") for model in config.model_config_list.config):
        raise invalid_argument("No request-logger-creator provided.")

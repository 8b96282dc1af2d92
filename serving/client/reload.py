"""Replace the config of a running server in two steps, so that no label ever points to a version that is not served.

A server refuses a label on a version that is not AVAILABLE, and a reload does not wait for versions that a policy adds
(model_servers/server_core.cc). Therefore the first step loads the versions of both configs and keeps the labels; the second
moves the labels and unloads the versions that the new config does not serve.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace

from serving.client.client import Client
from serving.client.connection import ConnectionSettings
from serving.client.grpc_protocol import GrpcProtocol
from serving.client.transport import Target
from serving.config.model_server import ModelServerConfig, ServedModel
from serving.config.version_policy import Specific
from serving.errors import DeadlineError, RequestError, ServingError, TargetError

Versions = Mapping[str, Sequence[int]]
"""Model -> its versions on disk."""


_ALLOW = "start the embedded server with --reload_base_path=FOLDER, the folder that holds its models"
"""What to do if the embedded server refuses a reload: it listens beyond its machine, or the models are in another folder."""


class _ReloadingClient(Client):
    """A client that can also replace the server's config."""

    def reload(self, config: ModelServerConfig, timeout: float) -> None:
        """Replace the server's whole config; see `GrpcProtocol.reload`."""
        assert isinstance(self._protocol, GrpcProtocol)
        self._run(self._protocol.reload(config.to_proto(), timeout))


class Reload:
    """A change of a running server's config: call `load`, then `label`.

    Args:
        target: `host:port` of the server's gRPC port.
        before: the present config, with base paths as the server sees them.
        after: the new config, likewise. A reload replaces the whole config: models that are in neither are unloaded.
        available: versions of each model on disk.
        timeout: seconds for each step.
        connection: how to connect; None for the default settings.

    Raises:
        TargetError: the target is not an address, or is a REST port.
    """

    def __init__(
        self,
        target: str,
        before: ModelServerConfig,
        after: ModelServerConfig,
        available: Versions,
        *,
        timeout: float,
        connection: ConnectionSettings | None = None,
    ) -> None:
        self.target = Target.parse(target)
        if self.target.rest:
            fix = "give the server's gRPC port, e.g. localhost:8500"
            raise TargetError(
                f"{target} is a REST port, and a config can only be reloaded over gRPC.", fix=fix, code="TFB7001"
            )
        self._before, self._after, self._available, self._timeout = before, after, available, timeout
        self._connection = connection

    def load(self) -> None:
        """Load the versions that the new config serves, and leave the labels. After a failure, restore the former config.

        Raises:
            NotReadyError: a version could not be loaded, or was not available in time.
            ConnectionFailedError, DeadlineError, RequestError: see `serving.errors`.
        """
        self._send(self._combined())
        try:
            self._wait()
        except ServingError:
            self._send(self._before)
            raise

    def label(self) -> None:
        """Move the labels, and unload versions that the new config does not serve. Errors as in `load`."""
        self._send(self._after)

    def _combined(self) -> ModelServerConfig:
        """Return the new config with the versions of both configs and the former labels."""
        former = {model.name: model for model in self._before.models}
        return ModelServerConfig(tuple(self._combine(former.get(model.name), model) for model in self._after.models))

    def _combine(self, former: ServedModel | None, model: ServedModel) -> ServedModel:
        available = self._available.get(model.name, ())
        versions = {*model.served(available), *(former.served(available) if former else ())}
        return replace(model, policy=Specific(tuple(sorted(versions))), labels=former.labels if former else {})

    def _wait(self) -> None:
        deadline = time.monotonic() + self._timeout
        with self._client() as client:
            for model in self._after.models:
                for version in model.served(self._available.get(model.name, ())):
                    client.wait_until_ready(model.name, version, timeout=max(deadline - time.monotonic(), 0.1))

    def _send(self, config: ModelServerConfig) -> None:
        try:
            with closing(self._client()) as client:
                client.reload(config, self._timeout)
        except (DeadlineError, RequestError) as exc:
            paths = ", ".join(model.base_path for model in config.models)
            exc.what = f"The server did not accept the config: {exc.what}"
            exc.fix = f"check that the models are at {paths} where the server runs; --models-dir sets their folder"
            if isinstance(exc, RequestError) and exc.status == "PERMISSION_DENIED":
                exc.fix = _ALLOW
            raise

    def _client(self) -> _ReloadingClient:
        return _ReloadingClient(str(self.target), connection=self._connection)

"""Another config for a running server, in two steps, so that no label ever names a version that does not serve.

A server refuses a label on a version that is not AVAILABLE, and a reload does not wait for versions that a policy adds
(model_servers/server_core.cc). So the versions of both configs are loaded first, under the labels as they are; then the labels
move, and what is no longer wanted goes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from serving.client.client import Client
from serving.client.grpc_transport import GrpcTransport
from serving.client.transport import Target
from serving.config.model_server import ModelServerConfig, ServedModel
from serving.config.version_policy import Specific
from serving.errors import DeadlineError, RequestError, ServingError, TargetError

Versions = Mapping[str, Sequence[int]]
"""Model -> its versions on disk."""


class Reload:
    """A change of config, to be made in a running server.

    Args:
        target: `host:port` of its gRPC port.
        before, after: the configs, with base paths as that server sees them. Models that it serves and that stand in neither
            are unloaded: a reload replaces the whole config.
        available: versions of each model on disk.
        timeout: seconds for each step.

    Raises:
        TargetError: the target is not one, or is REST.
    """

    def __init__(
        self, target: str, before: ModelServerConfig, after: ModelServerConfig, available: Versions, *, timeout: float
    ) -> None:
        self.target = Target.parse(target)
        if self.target.rest:
            fix = "give its gRPC port, e.g. localhost:8500"
            raise TargetError(f"{target} is a REST port: a config is reloaded over gRPC.", fix=fix)
        self._before, self._after, self._available, self._timeout = before, after, available, timeout

    def load(self) -> None:
        """Load what the new config serves; labels stay as they are. After a failure the server has its former config again.

        Raises:
            NotReadyError: a version could not be loaded, or not in time.
            ConnectionFailedError, DeadlineError, RequestError: see `serving.errors`.
        """
        self._send(self._both())
        try:
            self._wait()
        except ServingError:
            self._send(self._before)
            raise

    def label(self) -> None:
        """Move the labels, and let go of versions that the new config does not serve. Errors as in `load`."""
        self._send(self._after)

    def _both(self) -> ModelServerConfig:
        former = {model.name: model for model in self._before.models}
        return ModelServerConfig(tuple(self._joined(former.get(model.name), model) for model in self._after.models))

    def _joined(self, former: ServedModel | None, model: ServedModel) -> ServedModel:
        there = self._available.get(model.name, ())
        versions = {*model.served(there), *(former.served(there) if former else ())}
        return replace(model, policy=Specific(tuple(sorted(versions))), labels=former.labels if former else {})

    def _wait(self) -> None:
        deadline = time.monotonic() + self._timeout
        with Client(str(self.target)) as client:
            for model in self._after.models:
                for version in model.served(self._available.get(model.name, ())):
                    client.wait_until_ready(model.name, version, timeout=max(deadline - time.monotonic(), 0.1))

    def _send(self, config: ModelServerConfig) -> None:
        transport = GrpcTransport(self.target)
        try:
            transport.reload(config.to_proto(), self._timeout)
        except (DeadlineError, RequestError) as exc:
            paths = ", ".join(model.base_path for model in config.models)
            exc.what = f"The server did not take the config over: {exc.what}"
            exc.fix = f"are the models at {paths} where that server runs? --models-dir says where they are"
            raise
        finally:
            transport.close()

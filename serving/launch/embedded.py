"""The embedded server, in another process."""

from __future__ import annotations

from collections.abc import Sequence

from serving.launch.deployment import Deployment
from serving.launch.runner import Log, ProcessRunner


class EmbeddedRunner(ProcessRunner):
    """Args:
    serve: the command that serves a bundle's folder with this package's server; it gets the folder and flags.
    """

    def __init__(self, deployment: Deployment, serve: Sequence[str]) -> None:
        super().__init__()
        self._deployment = deployment
        self._serve = tuple(serve)

    @property
    def command(self) -> Sequence[str]:
        to = self._deployment
        ports = (f"--host={to.host}", f"--port={to.grpc_port}", f"--rest_api_port={to.rest_port}")
        return (*self._serve, str(to.folder), *ports)

    @property
    def hosts(self) -> str:
        return self._deployment.host

    def prepare(self, log: Log) -> None:
        """This package is all that it takes."""

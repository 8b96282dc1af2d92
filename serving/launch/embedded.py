"""Run the embedded server in another process."""

from __future__ import annotations

from collections.abc import Sequence

from serving.launch.deployment import Deployment
from serving.launch.runner import Log, ProcessRunner


class EmbeddedRunner(ProcessRunner):
    """Runs a command that serves a bundle with this package's server.

    Args:
        deployment: what to serve, and where.
        serve: the command, to which the bundle's folder and the flags are appended.
    """

    def __init__(self, deployment: Deployment, serve: Sequence[str]) -> None:
        super().__init__()
        self._deployment = deployment
        self._serve = tuple(serve)

    @property
    def command(self) -> Sequence[str]:
        """See `Runner.command`."""
        deployment = self._deployment
        ports = (f"--host={deployment.host}", f"--port={deployment.grpc_port}", f"--rest_api_port={deployment.rest_port}")
        return (*self._serve, str(deployment.folder), *ports)

    @property
    def hosts(self) -> str:
        """See `Runner.hosts`."""
        return self._deployment.host

    def prepare(self, log: Log) -> None:
        """Do nothing: the server needs only this package."""

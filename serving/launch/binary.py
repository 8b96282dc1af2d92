"""A tensorflow_model_server that is installed on this machine."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from serving.errors import LaunchError
from serving.launch.deployment import Deployment
from serving.launch.runner import Log, ProcessRunner

BINARY = "tensorflow_model_server"


class BinaryRunner(ProcessRunner):
    """Runs it on config files of its own: those in the bundle have the paths of a container.

    Args:
        binary: name or path of the executable.
    """

    def __init__(self, deployment: Deployment, binary: str = BINARY) -> None:
        super().__init__()
        self._deployment = deployment
        self._binary = binary
        self._configs = Path(tempfile.gettempdir()) / f"tfbundle-{deployment.name}-{deployment.grpc_port}"
        self._wrote = False

    @property
    def command(self) -> Sequence[str]:
        return (self._binary, *self._deployment.flags(str(self._configs)))

    @property
    def hosts(self) -> str:
        """It has no flag for an address: it listens on all of them (model_servers/server.cc)."""
        return "0.0.0.0"

    @property
    def by_hand(self) -> str:
        remove = f"rm -rf {shlex.quote(str(self._configs))}" if self._wrote else ""
        return "; ".join(filter(None, (super().by_hand, remove)))

    def prepare(self, log: Log) -> None:
        if shutil.which(self._binary) is None:
            raise LaunchError(
                f"There is no {self._binary} on this machine.",
                where="PATH" if "/" not in self._binary else self._binary,
                fix="install TensorFlow Serving's package tensorflow-model-server and give its path with --binary, "
                "or use --runner docker or --runner embedded",
            )
        try:
            self._configs.mkdir(mode=0o700)
        except FileExistsError as exc:
            raise LaunchError(
                f"{self._configs} is there already: another launch has this port, or left it behind.",
                fix=f"if no server uses it: rm -r {shlex.quote(str(self._configs))}",
            ) from exc
        self._wrote = True
        for name, text in self._deployment.configs(str(self._deployment.folder / "models")).items():
            (self._configs / name).write_text(text, "utf-8")

    def stop(self) -> None:
        try:
            super().stop()
        finally:
            if self._wrote:
                shutil.rmtree(self._configs, ignore_errors=True)

"""Run a tensorflow_model_server that is installed on this machine."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from serving.errors import LaunchError
from serving.launch.deployment import Deployment
from serving.launch.runner import Log, ProcessRunner
from serving.texts import shell_command

BINARY = "tensorflow_model_server"


class BinaryRunner(ProcessRunner):
    """Runs the executable on its own config files, since those in the bundle have the paths of a container.

    Args:
        deployment: what to serve, and where.
        binary: name or path of the executable.
    """

    def __init__(self, deployment: Deployment, binary: str = BINARY) -> None:
        super().__init__()
        self._deployment = deployment
        self._binary = binary
        name = f"tfbundle-{deployment.name}-{deployment.grpc_port}-{secrets.token_hex(4)}"
        self._configs = Path(tempfile.gettempdir()) / name  # the command names it before it is made
        self._has_configs = False

    @property
    def command(self) -> Sequence[str]:
        """See `Runner.command`."""
        return (self._binary, *self._deployment.flags(str(self._configs)))

    @property
    def hosts(self) -> str:
        """Every address of this machine: the server has no flag to choose one (model_servers/server.cc)."""
        return "0.0.0.0"

    @property
    def by_hand(self) -> str:
        """See `Runner.by_hand`."""
        remove = shell_command("rm", "-rf", self._configs) if self._has_configs else ""
        return "; ".join(filter(None, (super().by_hand, remove)))

    def prepare(self, log: Log) -> None:
        """Write the config files.

        Raises:
            LaunchError: the executable is not installed, or the folder for the config files cannot be made.
        """
        if shutil.which(self._binary) is None:
            raise LaunchError(
                f"There is no {self._binary} on this machine.",
                where="PATH" if "/" not in self._binary else self._binary,
                fix="install TensorFlow Serving's package tensorflow-model-server and give its path with --binary, "
                "or use --runner docker or --runner embedded",
                code="TFB6201",
            )
        try:
            self._configs.mkdir(mode=0o700)
        except OSError as exc:
            raise LaunchError(
                f"The folder {self._configs} cannot be made: {exc.strerror}.",
                fix="free space in the folder for temporary files, or choose another one with TMPDIR",
                code="TFB5001",
            ) from exc
        self._has_configs = True
        for name, text in self._deployment.configs(str(self._deployment.folder / "models")).items():
            (self._configs / name).write_text(text, "utf-8")

    def stop(self) -> None:
        """End the server and remove its config files."""
        try:
            super().stop()
        finally:
            if self._has_configs:
                shutil.rmtree(self._configs, ignore_errors=True)

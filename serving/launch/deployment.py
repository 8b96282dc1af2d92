"""What is to be served, and where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_EVERYWHERE = ("", "0.0.0.0", "::")


@dataclass(frozen=True)
class Deployment:
    """A bundle and the addresses it is served at.

    Attributes:
        folder: absolute path of the bundle: `models/` and `serving/` are read.
        name: a DNS label; names the container.
        versions: model -> versions that have to be AVAILABLE.
        host: address of this machine to listen on.
        flags: folder of the config files, where the server runs -> tensorflow_model_server's flags, ports included.
        configs: folder of the models, where the server runs -> name and text of each config file that the flags name.
    """

    folder: Path
    name: str
    versions: Mapping[str, tuple[int, ...]]
    host: str
    grpc_port: int
    rest_port: int
    flags: Callable[[str], tuple[str, ...]]
    configs: Callable[[str], dict[str, str]]

    @property
    def grpc_target(self) -> str:
        """`host:port` for a client on this machine."""
        return f"{self._reached_at}:{self.grpc_port}"

    @property
    def rest_target(self) -> str:
        """The same for REST."""
        return f"{self._reached_at}:{self.rest_port}"

    @property
    def _reached_at(self) -> str:
        if self.host in _EVERYWHERE:
            return "127.0.0.1"
        return f"[{self.host}]" if ":" in self.host else self.host

"""A bundle to serve, and the addresses to serve it at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_ALL_ADDRESSES = ("", "0.0.0.0", "::")


@dataclass(frozen=True)
class Deployment:
    """A bundle to serve, and the addresses to serve it at.

    Attributes:
        folder: absolute path of the bundle, whose `models/` and `serving/` are read.
        name: a DNS label, used in the name of the container.
        versions: model -> versions that have to become AVAILABLE.
        host: address of this machine to listen on.
        grpc_port: port of gRPC.
        rest_port: port of REST.
        flags: returns tensorflow_model_server's flags, ports included, for a folder of config files where the server runs.
        configs: returns name and text of each config file that the flags name, for a folder of models where the server runs.
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
        """`host:port` for a gRPC client on this machine."""
        return f"{self._client_host}:{self.grpc_port}"

    @property
    def rest_target(self) -> str:
        """`host:port` for a REST client on this machine."""
        return f"{self._client_host}:{self.rest_port}"

    @property
    def _client_host(self) -> str:
        if self.host in _ALL_ADDRESSES:
            return "127.0.0.1"
        return f"[{self.host}]" if ":" in self.host else self.host

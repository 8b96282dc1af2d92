"""The run side of tfbundle: a client, smoke tests and an embedded server for TensorFlow Serving's protocol.

    serving.Client("localhost:8500").predict("digits", image=array)
    async with serving.AsyncClient("localhost:8500") as client: ...
    with serving.Server("dist/x") as server: ...

Public names are imported on first use: the client needs only grpcio, protobuf and NumPy (asynchronous REST also
`pip install 'tfbundle[async]'`); the server also needs the packages of `pip install 'tfbundle[serve]'`, among them TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.lazy import lazy_attributes

if TYPE_CHECKING:
    from serving.client.async_client import AsyncClient
    from serving.client.client import Client
    from serving.client.connection import Channels, ConnectionSettings, Credentials, RetryPolicy, Tls
    from serving.client.model_info import ModelInfo, SignatureInfo, TensorInfo, VersionStatus
    from serving.errors import (
        ConfigError,
        ConnectionFailedError,
        DeadlineError,
        GoldenError,
        NotReadyError,
        ProtocolError,
        RequestError,
        ServingError,
        TargetError,
        TensorError,
        TlsError,
    )
    from serving.golden.data import Golden, GoldenCase
    from serving.server import Server
    from serving.smoke.run import SmokeReport

_MODULES = {
    "AsyncClient": "client.async_client",
    "Client": "client.client",
    **dict.fromkeys(("Channels", "ConnectionSettings", "Credentials", "RetryPolicy", "Tls"), "client.connection"),
    **dict.fromkeys(
        (
            "ConfigError", "ConnectionFailedError", "DeadlineError", "GoldenError", "NotReadyError",
            "ProtocolError", "RequestError", "ServingError", "TargetError", "TensorError", "TlsError",
        ),
        "errors",
    ),
    "Golden": "golden.data",
    "GoldenCase": "golden.data",
    **dict.fromkeys(("ModelInfo", "SignatureInfo", "TensorInfo", "VersionStatus"), "client.model_info"),
    "Server": "server",
    "SmokeReport": "smoke.run",
}  # fmt: skip
"""Public name -> the module of this package that defines it."""

__all__ = [
    "AsyncClient",
    "Channels",
    "Client",
    "ConfigError",
    "ConnectionFailedError",
    "ConnectionSettings",
    "Credentials",
    "DeadlineError",
    "Golden",
    "GoldenCase",
    "GoldenError",
    "ModelInfo",
    "NotReadyError",
    "ProtocolError",
    "RequestError",
    "RetryPolicy",
    "Server",
    "ServingError",
    "SignatureInfo",
    "SmokeReport",
    "TargetError",
    "TensorError",
    "TensorInfo",
    "Tls",
    "TlsError",
    "VersionStatus",
]

__getattr__ = lazy_attributes(__name__, _MODULES, {"Server": ("serve", "The embedded server")})


def __dir__() -> list[str]:
    return __all__

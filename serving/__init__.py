"""The run side of tfbundle: a client, smoke tests and an embedded server for TensorFlow Serving's protocol.

    serving.Client("localhost:8500").predict("digits", image=array)
    with serving.Server("dist/x") as server: ...

Names are imported when they are first used: the client needs grpcio, protobuf and NumPy, the server
TensorFlow too.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.client.client import Client
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
    )
    from serving.golden.data import Golden, GoldenCase
    from serving.server import Server
    from serving.smoke.run import SmokeReport

_HOME = {
    "Client": "client.client",
    **dict.fromkeys(
        (
            "ConfigError", "ConnectionFailedError", "DeadlineError", "GoldenError", "NotReadyError",
            "ProtocolError", "RequestError", "ServingError", "TargetError", "TensorError",
        ),
        "errors",
    ),
    "Golden": "golden.data",
    "GoldenCase": "golden.data",
    **dict.fromkeys(("ModelInfo", "SignatureInfo", "TensorInfo", "VersionStatus"), "client.model_info"),
    "Server": "server",
    "SmokeReport": "smoke.run",
}  # fmt: skip
"""Public name -> the module of this package that has it."""

__all__ = [
    "Client",
    "ConfigError",
    "ConnectionFailedError",
    "DeadlineError",
    "Golden",
    "GoldenCase",
    "GoldenError",
    "ModelInfo",
    "NotReadyError",
    "ProtocolError",
    "RequestError",
    "Server",
    "ServingError",
    "SignatureInfo",
    "SmokeReport",
    "TargetError",
    "TensorError",
    "TensorInfo",
    "VersionStatus",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

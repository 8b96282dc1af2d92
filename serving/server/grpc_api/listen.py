"""The address that the gRPC server listens on, and its TLS."""

from __future__ import annotations

import socket
from pathlib import Path

import grpc

from serving.errors import ConfigError
from serving.server.config.files import read_config
from serving.server.config.options import ServerOptions


def listen(server: grpc.Server, options: ServerOptions) -> int:
    """Bind the server to the socket path and the port in the options.

    Returns:
        The port; 0 if the server listens on a socket path only.

    Raises:
        ConfigError: the port, the socket path or the TLS config cannot be used.
        StatusError: the TLS config does not parse.
    """
    credentials = _credentials(options)
    if options.grpc_socket_path:
        _bind(server, f"unix:{options.grpc_socket_path}", credentials)
        if not options.grpc_port:
            return 0
    host = f"[{options.host}]" if ":" in options.host else options.host
    return _bind(server, f"{host}:{options.grpc_port}", credentials)


def _bind(server: grpc.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as exc:
        if credentials is not None and _is_free(address):
            raise ConfigError(
                "ssl_config_file: server_key and server_cert are not a matching pair of key and certificate.",
                fix="give both as PEM text, not as paths: -----BEGIN PRIVATE KEY-----, -----BEGIN CERTIFICATE-----",
                code="TFB6005",
            ) from exc
        fix = "stop the process that uses it, or choose another port with --port"
        raise ConfigError(f"gRPC cannot listen on {address}.", fix=fix, code="TFB6004") from exc


def _is_free(address: str) -> bool:
    """Return whether nothing listens on the address, so that gRPC's error has another cause."""
    if address.startswith("unix:"):
        return True
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.socket(family) as probe:
        return probe.connect_ex((host.strip("[]"), int(port))) != 0


def _credentials(options: ServerOptions) -> grpc.ServerCredentials | None:
    """Read ssl_config_file, whose fields hold PEM text, not paths (config/ssl_config.proto)."""
    if not options.ssl_config_file:
        return None
    config = read_config(str(Path(options.ssl_config_file)), "SSLConfig")
    required = ("server_key", "server_cert", *(("custom_ca",) if config.client_verify else ()))
    for name in required:
        if not getattr(config, name):
            why = ", which client_verify needs to check clients' certificates" if name == "custom_ca" else ""
            raise ConfigError(f"{options.ssl_config_file} has no {name}{why}.", fix="give its PEM text", code="TFB6005")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )

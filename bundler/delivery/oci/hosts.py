"""Hosts of registries: where Docker Hub really is, and which hosts may be spoken to without encryption."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from bundler.errors import UsageError

_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_DOCKER_HUB_KEY = "https://index.docker.io/v1/"


def api_host(registry: str) -> str:
    """Return the host that serves the API of a registry: its own, except for Docker Hub."""
    return "registry-1.docker.io" if registry in _DOCKER_HUB else registry


def credentials_key(registry: str) -> str:
    """Return the name under which Docker's configuration and credential helpers keep the credentials of a registry."""
    return _DOCKER_HUB_KEY if registry in _DOCKER_HUB else registry


def is_local(host: str) -> bool:
    """Return whether a host, with or without a port, is this machine by its very name."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_insecure(host: str) -> None:
    """Check that a registry may be spoken to over plain HTTP.

    Raises:
        UsageError: it is on another machine, where credentials and models could be read and exchanged on the way.
    """
    if not is_local(host):
        raise UsageError(
            f"--insecure is for registries on this machine, and {host} is not on it.",
            fix="omit --insecure and give the registry a certificate; add an authority of your own with REQUESTS_CA_BUNDLE=FILE",
            code="TFB9002",
        )

"""Refuse requests that a browser sends for a foreign web page.

A page may send a POST to any address, and with a name that it lets resolve to 127.0.0.1 (DNS rebinding) it may also read the
answers. Browsers name the page in the Origin header and the name that it uses in the Host header. Other clients send the
name that they were given as Host, and no Origin.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from serving.server.config.options import ServerOptions

_PORTS = {"http": 80, "https": 443}
_ANY = "*"


def refusal(method: str, headers: Mapping[str, str], options: ServerOptions) -> str | None:
    """Return why a request is refused; None if it is answered.

    Args:
        method: the HTTP method.
        headers: the headers, names in lower case.
        options: hold the address to listen on, `allowed_hosts` and `rest_cors`.
    """
    host = headers.get("host")
    if host is not None and not _is_allowed(host, options):
        return f"The Host header {host!r} does not name this server; add its name to --allowed_hosts."
    origin = headers.get("origin")
    if method != "POST" or origin is None or options.rest_cors or _is_own(origin, headers, options):
        return None
    return (
        f"The web page {origin!r} is not this server's; allow all pages with --rest_api_enable_cors_support, or its host "
        "with --allowed_hosts."
    )


def _is_allowed(host: str, options: ServerOptions) -> bool:
    if _ANY in options.allowed_hosts or not (options.allowed_hosts or _is_local(options.host)):
        return True
    name = _name(f"//{host}")
    return name is not None and (_is_local(name) or name in options.allowed_hosts)


def _is_own(origin: str, headers: Mapping[str, str], options: ServerOptions) -> bool:
    """Return whether a page comes from this server, possibly through a proxy, or from an allowed host.

    A page cannot set X-Forwarded-Host without the server's leave, which only --rest_api_enable_cors_support gives.
    """
    scheme = origin.partition(":")[0].lower()
    page = _address(origin, _PORTS.get(scheme))
    if page is None:
        return False
    own = (headers[name] for name in ("host", "x-forwarded-host") if name in headers)
    return page[0] in options.allowed_hosts or any(page == _address(f"//{host}", _PORTS.get(scheme)) for host in own)


def _name(url: str) -> str | None:
    address = _address(url, None)
    return address[0] if address else None


def _address(url: str, default_port: int | None) -> tuple[str, int | None] | None:
    """Return the host, in lower case, and the port of a URL; None if it has none."""
    try:
        parts = urlsplit(url)
        return (parts.hostname, parts.port or default_port) if parts.hostname else None
    except ValueError:
        return None


def _is_local(name: str) -> bool:
    """Return whether a name is always this machine's."""
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

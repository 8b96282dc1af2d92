"""Errors for what a registry answers, or does not: what happened, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bundler.errors import DeliveryError

if TYPE_CHECKING:
    from bundler.delivery.oci.credentials import DockerAuth

_CONNECTION = re.compile(r"^HTTPS?Connection(Pool)?\([^)]*\): ")
"""What urllib3 puts before a reason."""
_LONGEST = 200
"""Characters of a registry's own message."""


def refused(response: Any, auth: DockerAuth) -> DeliveryError:
    """Return the error for a response whose status is not the expected one."""
    status, where = response.status_code, _where(response)
    host = urlsplit(response.url).netloc
    said = _message(response)
    if status == 401:
        return _unauthorized(host, where, said, auth)
    if status == 403:
        return DeliveryError(
            f"The registry {host} denies access{said}.",
            where=where,
            fix="check the name of the repository, and ask for the right to read it, or to write to it for a push",
            code="TFB9005",
        )
    if status == 404:
        return DeliveryError(
            f"The registry {host} does not have it{said}.",
            where=where,
            fix="check repository, tag and digest; `skopeo list-tags docker://HOST/REPOSITORY` shows the tags",
            code="TFB9006",
        )
    if status == 429 or status >= 500:
        word = "is asked too often" if status == 429 else "fails"
        return DeliveryError(
            f"The registry {host} {word} (status {status}{said}), and still did after several attempts.",
            where=where,
            fix="repeat the command later; what has been transferred completely is not transferred again",
            code="TFB9007",
        )
    return unexpected(response, f"status {status}{said}")


def _unauthorized(host: str, where: str, said: str, auth: DockerAuth) -> DeliveryError:
    how = "does not accept the credentials" if auth.has_credentials else "asks for credentials"
    why = f"; {auth.problem}" if auth.problem else ""
    return DeliveryError(
        f"The registry {host} {how}{said}{why}.",
        where=where,
        fix=f"log in with `docker login {host}` or `oras login {host}`; their file is read, also from the folder DOCKER_CONFIG",
        code="TFB9004",
    )


def unexpected(response: Any, how: str) -> DeliveryError:
    """Return the error for an answer that the distribution specification does not know."""
    return DeliveryError(
        f"The answer of {urlsplit(response.url).netloc} is not that of a registry: {how}.",
        where=_where(response),
        fix="check the address; it must be that of a registry for OCI images",
        code="TFB9008",
    )


def unreachable(exc: Exception, url: str) -> DeliveryError:
    """Return the error for a connection that could not be made, or broke."""
    host = urlsplit(url).netloc
    text = str(exc)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        fix = "give the registry a certificate that this machine trusts, or name its authority with REQUESTS_CA_BUNDLE=FILE"
    elif "WRONG_VERSION_NUMBER" in text or "record layer" in text:
        fix = "the registry speaks plain HTTP; for one on this machine, add --insecure"
    else:
        fix = "check the address and the network, and repeat the command; what has been transferred completely is not sent again"
    return DeliveryError(f"The connection to {host} failed: {_reason(exc)}.", where=url, fix=fix, code="TFB9007")


def _reason(exc: BaseException) -> str:
    """Return the innermost reason that requests and urllib3 wrap."""
    inner: Any = exc
    while True:
        reason = getattr(inner, "reason", None)
        following = reason if isinstance(reason, BaseException) else next(_wrapped(inner), None)
        if following is None:
            break
        inner = following
    text = _CONNECTION.sub("", str(inner))
    return (text.strip().rstrip(".") or type(inner).__name__)[:_LONGEST]


def _wrapped(exc: BaseException) -> Iterator[BaseException]:
    return (arg for arg in exc.args if isinstance(arg, BaseException))


def _where(response: Any) -> str:
    url = urlsplit(response.url)
    return f"{response.request.method} {url.scheme}://{url.netloc}{url.path}"


def _message(response: Any) -> str:
    """Return the registry's own message, with a colon before it (distribution-spec, "Error Codes")."""
    try:
        errors = response.json()["errors"]
        text = "; ".join(str(row.get("message") or row.get("code")) for row in errors)
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return ""
    return f": {text[:_LONGEST]}" if text else ""

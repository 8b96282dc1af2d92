"""Bearer tokens, fixed or from a file that another program renews.

A kubelet replaces a projected service account's token before it expires, by switching a link: the file then has another inode.
The file's state is compared before each request, which costs microseconds; its content is read only when the state differs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from serving.client.connection import Credentials, checked_token
from serving.client.transport import Target
from serving.errors import ConfigError, TargetError

_MOST_BYTES = 1 << 16
"""Longest token: servers and proxies take at most 8 to 64 KiB of headers."""


class TokenSource(Protocol):
    """Where a client's token comes from."""

    name: str
    """How messages call it."""

    def current(self) -> str:
        """Return the token.

        Raises:
            ConfigError: there is none.
        """

    def renewed(self) -> str:
        """Return the token, read again although its file looks unchanged. Errors as in `current`."""


class FixedToken:
    """A token that does not change."""

    name = "the token"

    def __init__(self, token: str) -> None:
        self._token = token

    def current(self) -> str:
        """Return the token."""
        return self._token

    renewed = current


class FileToken:
    """The content of a file, as of now.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.name = f"the token in {path}"
        self._path = path
        self._read: tuple[tuple[int, ...], str] = ((), "")

    def current(self) -> str:
        """Return the token; read the file if it has changed."""
        state, token = self._read
        return token if state and state == self._state() else self.renewed()

    def renewed(self) -> str:
        """Read the file."""
        state = self._state()
        try:
            with self._path.open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
        except OSError as exc:
            raise self._error(f"cannot be read: {exc.strerror or exc}") from exc
        if not data.strip():
            raise self._error("is empty")
        if len(data) > _MOST_BYTES:
            raise self._error(f"has more than {_MOST_BYTES} bytes, so it is not a token")
        try:
            token = checked_token(data.decode("ascii", "replace"), "It")
        except TargetError:
            # Without the cause, whose traceback holds the token.
            raise self._error("does not hold a token: it has spaces, line breaks or characters outside ASCII") from None
        self._read = (state, token)
        return token

    def _state(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError as exc:
            raise self._error(f"cannot be read: {exc.strerror or exc}") from exc
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def _error(self, why: str) -> ConfigError:
        fix = "check that the file exists and that whatever renews it is running; on Kubernetes, see the pod's projected volume"
        return ConfigError(f"The token file {self._path} {why}.", fix=fix, code="TFB7015")


def token_source(credentials: Credentials, target: Target) -> TokenSource | None:
    """Return where the token comes from; None if there is none.

    Args:
        credentials: the client's credentials.
        target: the server's address, which decides whether secrets may be sent.

    Raises:
        TargetError: a token or another secret would be sent without encryption to another machine.
        ConfigError: the token file cannot be read.
    """
    if credentials.are_secret and not (target.tls or target.is_loopback or credentials.allow_plaintext):
        scheme = "https" if target.rest else "grpcs"
        raise TargetError(
            f"The credentials would be sent without encryption to {target.address}.",
            where=str(target),
            fix=f"use {scheme}://, or allow it with Credentials(allow_plaintext=True) or --send-token-unencrypted",
            code="TFB7016",
        )
    if credentials.token is not None:
        return FixedToken(checked_token(credentials.token, "The token"))
    if credentials.token_file is None:
        return None
    source = FileToken(Path(credentials.token_file))
    source.current()
    return source

"""How a client connects: encryption, credentials, further tries, and connections, in one value for both clients and all commands.

    settings = ConnectionSettings(
        tls=Tls(ca="ca.pem", certificate="client.pem", key="client-key.pem"),
        credentials=Credentials(token_file="/var/run/secrets/tokens/model-server"),
    )
    with Client("grpcs://models.example.com:443", connection=settings) as client: ...

The values hold what the user wrote. `serving.client.tls_files` and `serving.client.tokens` read the files that they name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from serving.client import arguments
from serving.client.transport import Target
from serving.errors import TargetError

File: TypeAlias = str | Path

_HEADER_NAME = re.compile(r"[a-z0-9_.\-]+")
"""Names that gRPC's metadata allows (gRPC over HTTP2, "Header-Name"); HTTP allows more."""

_HEADER_VALUE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
"""Values that both carry unchanged: printable ASCII without spaces at the ends."""

_OF_THE_PROTOCOL = re.compile(r"grpc-.*|.*-bin|content-(type|length|encoding)|host|te|user-agent|connection|transfer-encoding")
"""Headers that gRPC or HTTP sets, and those of gRPC that hold bytes."""

SECRET = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})
"""Headers that prove who the client is: they are sent unencrypted only if the user says so."""

LEAST_KEEPALIVE = 10.0
"""Shortest pause between two pings, in seconds, as in gRFC A8. Servers permit one in 300 seconds unless told otherwise."""


@dataclass(frozen=True)
class Tls:
    """Encryption, for `grpcs://` and `https://` targets.

    Attributes:
        ca: the certificate authorities to trust: a PEM file, or its content as bytes; None trusts the system's.
        certificate: PEM file of the client's certificate, with intermediate ones after it; None for none.
        key: PEM file of the certificate's private key, which is not encrypted.
        server_name: the name that the server's certificate must have; None for the host of the target.
    """

    ca: File | bytes | None = None
    certificate: File | None = None
    key: File | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            there, missing = ("certificate", "key") if self.key is None else ("key", "certificate")
            raise TargetError(
                f"The client's {there} is given without the {missing}.",
                fix=f"give both: {missing} is the file of the {'private key' if missing == 'key' else 'certificate'}",
                code="TFB7018",
            )
        if self.server_name is not None and not re.fullmatch(r"[!-~]{1,253}", arguments.text(self.server_name, "server_name")):
            raise _wrong(f"{arguments.shown(self.server_name)} is not a name of a server.", "give e.g. models.example.com")


@dataclass(frozen=True)
class Credentials:
    """Who the client is, as headers of every request (over gRPC, as metadata).

    Neither `repr` nor an error shows the values.

    Attributes:
        headers: names and values, a mapping or pairs.
        token: sent as `authorization: Bearer TOKEN`.
        token_file: a file that holds the token, such as a projected service account's. It is read again when it changes, and
            when the server refuses the token.
        allow_plaintext: whether tokens, and headers such as `authorization`, may leave this machine without encryption.
    """

    headers: Mapping[str, str] | Sequence[tuple[str, str]] = field(default=(), repr=False)
    token: str | None = field(default=None, repr=False)
    token_file: File | None = None
    allow_plaintext: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", tuple(_checked_headers(self.headers)))
        arguments.flag(self.allow_plaintext, "allow_plaintext")
        given = [self.token is not None, self.token_file is not None, "authorization" in dict(self.headers)]
        if sum(given) > 1:
            raise _wrong("There is more than one token.", "give one of: token, token_file, a header 'authorization'")
        if self.token is not None:
            checked_token(self.token, "The token")

    @property
    def are_secret(self) -> bool:
        """Whether a token or header proves who the client is."""
        return self.token is not None or self.token_file is not None or any(name in SECRET for name, _ in self.pairs)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The headers as pairs of a lower-case name and a value."""
        return tuple(self.headers)  # type: ignore[arg-type]  # pairs, since __post_init__


@dataclass(frozen=True)
class RetryPolicy:
    """When a request is sent again, within its timeout.

    A request is repeated if no server can have executed it: no connection could be made, or the server itself answered
    UNAVAILABLE (over REST, HTTP 503). If the connection was lost before the answer, the model may have run: status and metadata
    are requested again, an inference only with `lost`. Every other error is final.

    Before the n-th repetition the client waits for a random time between half of and the whole `first_pause * 2**(n-1)`, at most
    `longest_pause`; or for as long as the server asks (`Retry-After`, `grpc-retry-pushback-ms`).

    Attributes:
        attempts: most times that a request is sent; 1 for no repetition.
        first_pause: seconds before the first repetition.
        longest_pause: most seconds before a repetition.
        lost: repeat inferences whose connection was lost, too: for models that a second run does not harm. A request that makes
            the server fail is then sent to the next one.
    """

    attempts: int = 3
    first_pause: float = 0.1
    longest_pause: float = 5.0
    lost: bool = False

    def __post_init__(self) -> None:
        arguments.integer(self.attempts, "attempts", 1, 100)
        arguments.seconds(self.first_pause, "first_pause", or_zero=True)
        arguments.seconds(self.longest_pause, "longest_pause", or_zero=True)
        arguments.flag(self.lost, "lost")


@dataclass(frozen=True)
class Channels:
    """The connections themselves.

    Attributes:
        connections: over gRPC, the number of HTTP/2 connections, among which calls take turns (None: 1); behind a balancer of
            connections, each may lead to another server. Over REST, the most connections at once; further requests wait (None:
            one per thread of `Client`, 100 of `AsyncClient`).
        keepalive: seconds after which a connection that waits for an answer is tested, so that a lost one is noticed: by a ping
            over gRPC, by TCP over REST. None for no test. TensorFlow Serving permits a ping in 300 s unless it runs with
            `--grpc_channel_arguments=grpc.http2.min_ping_interval_without_data_ms=…`.
        compression: `gzip` compresses requests; None for none. TensorFlow Serving takes both over gRPC and REST.
    """

    connections: int | None = None
    keepalive: float | None = None
    compression: Literal["gzip"] | None = None

    def __post_init__(self) -> None:
        if self.connections is not None:
            arguments.integer(self.connections, "connections", 1, 10_000)
        if self.keepalive is not None and arguments.seconds(self.keepalive, "keepalive") < LEAST_KEEPALIVE:
            raise _wrong(
                f"A keepalive of {self.keepalive:g} s is shorter than {LEAST_KEEPALIVE:g} s, which servers take for an attack.",
                "give 300 or more for a server with default settings",
            )
        if self.compression is not None:
            arguments.choice(self.compression, "compression", ("gzip",))


@dataclass(frozen=True)
class ConnectionSettings:
    """All settings of a client's connections.

    Attributes:
        tls: encryption.
        credentials: who the client is.
        retry: when a request is sent again.
        channels: the connections themselves.
    """

    tls: Tls = field(default_factory=Tls)
    credentials: Credentials = field(default_factory=Credentials)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    channels: Channels = field(default_factory=Channels)

    def __post_init__(self) -> None:
        for name, kind in (("tls", Tls), ("credentials", Credentials), ("retry", RetryPolicy), ("channels", Channels)):
            if not isinstance(getattr(self, name), kind):
                shown = arguments.shown(type(getattr(self, name)).__name__)
                raise _wrong(f"The setting {name} is a {kind.__name__}, not a {shown}.", f"give {name}={kind.__name__}(…)")

    def for_target(self, target: Target) -> ConnectionSettings:
        """Return these settings for another port of the server: without those of TLS if it is not encrypted."""
        return self if target.tls else replace(self, tls=Tls())

    def single_tries(self) -> ConnectionSettings:
        """Return these settings without repetitions, for measurements of single requests."""
        return replace(self, retry=replace(self.retry, attempts=1))


def settings_of(connection: object, root_certificates: bytes | None) -> ConnectionSettings:
    """Return a client's settings from its arguments.

    Args:
        connection: the settings; None for the default ones.
        root_certificates: PEM of the certificate authority, a short form of `Tls(ca=…)`.

    Raises:
        TargetError: an argument is wrong, or both name an authority.
    """
    if connection is None:
        connection = ConnectionSettings()
    if not isinstance(connection, ConnectionSettings):
        shown = arguments.shown(connection)
        raise _wrong(f"The argument connection is not a ConnectionSettings: {shown}.", "give connection=ConnectionSettings(…)")
    if root_certificates is None:
        return connection
    if connection.tls.ca is not None:
        raise _wrong("root_certificates and tls.ca both name an authority.", "give tls.ca alone: a file can hold several")
    return replace(connection, tls=replace(connection.tls, ca=root_certificates))


def checked_token(text: str, what: str) -> str:
    """Return a token without the white space around it. The error does not show it.

    Args:
        text: the token.
        what: the token's source, as the subject of the message.

    Raises:
        TargetError: it is empty, or cannot be the value of a header.
    """
    token = text.strip() if isinstance(text, str) else None
    if not token or not re.fullmatch(r"[!-~]+", token):
        why = "is empty" if token == "" else "is not a token: it has spaces, line breaks or characters outside ASCII"
        raise _wrong(f"{what} {why}.", "give the token alone, without 'Bearer'")
    return token


def _checked_headers(headers: Any) -> list[tuple[str, str]]:
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    checked = []
    for pair in pairs:
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise _wrong("A header is not a pair of a name and a value, both str.", "give e.g. {'x-team': 'vision'}")
        name, value = pair[0].lower(), pair[1]
        if not _HEADER_NAME.fullmatch(name) or _OF_THE_PROTOCOL.fullmatch(name):
            why = "is set by gRPC and HTTP themselves" if _HEADER_NAME.fullmatch(name) else "is not a valid name"
            fix = "use letters, digits, '-', '_' and '.', and no name of the protocol, e.g. x-team"
            raise _wrong(f"A header cannot be named {arguments.shown(pair[0])}: the name {why}.", fix)
        if not _HEADER_VALUE.fullmatch(value):
            fix = "use printable ASCII characters, and no spaces at the ends"
            raise _wrong(f"The value of the header {name!r} has characters that a header cannot carry.", fix)
        checked.append((name, value))
    return checked


def _wrong(what: str, fix: str) -> TargetError:
    return TargetError(what, fix=fix, code="TFB7018")

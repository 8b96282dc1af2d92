"""How a client reaches a server: its address, the model version of a request, and errors that gRPC and REST share."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import urlsplit

from serving.client import arguments
from serving.errors import ConnectionFailedError, ProtocolError, TargetError

Verb = Literal["Predict", "Classify", "Regress"]
"""RPCs that run one signature; REST uses the same names in lower case."""

VERBS: tuple[str, ...] = get_args(Verb)

MAX_RESPONSE_BYTES = 2**30
"""A client's default limit on the size of an answer, and of what it is decoded to."""

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%[0-9A-Za-z._~-]+)?\]|[^\s\x00-\x20\x7f:/\[\]@%?#\\]+):([0-9]{1,5})")
_URL_PATH = re.compile(r"[!-~]*")

_LABEL_HEADER, _VERSION_HEADER = "x-model-label", "x-model-version"
"""Headers that name the label or the version of a request, for proxies that choose a server by it."""

_HEADER_VALUE = re.compile(r"[!-~]{1,256}")
"""Values that gRPC's metadata and HTTP's headers carry unchanged (gRPC over HTTP2, "ASCII-Value"; RFC 9110, 5.5), and no proxy
refuses for their length. Spaces are left out because a leading or trailing one would be lost."""

_MAX_SOCKET_PATH = 107
"""Bytes of a Unix socket's path that Linux allows."""


@dataclass(frozen=True)
class Target:
    """Address of a server.

    Attributes:
        address: `host:port`, or `unix:/path` (gRPC only).
        rest: whether it is a REST port.
        tls: whether connections are encrypted.
        path: for REST behind a proxy, the part of the URL's path before `/v1`.
    """

    address: str
    rest: bool = False
    tls: bool = False
    path: str = ""

    def __str__(self) -> str:
        scheme = ("http" if self.rest else "grpc") + ("s" if self.tls else "")
        return f"{scheme}://{self.address}{self.path}"

    @classmethod
    def parse(cls, text: str, *, rest: bool = False) -> Target:
        """Parse `host:port`, `grpc://host:port`, `grpcs://…`, `http://…`, `https://…` or `unix:/path`.

        Args:
            text: the address as a user writes it.
            rest: whether an address without a scheme is a REST port.

        Raises:
            TargetError: the text has none of these forms.
        """
        text = arguments.text(text, "target")
        if text.startswith("unix:") and not rest:
            return cls(_checked_socket(text))
        scheme, separator, _ = text.partition("://")
        if not separator:
            return cls(_checked(text, text), rest)
        if scheme not in ("grpc", "grpcs", "http", "https"):
            raise _bad(text, f"the scheme {scheme!r} is unknown")
        if not _URL_PATH.fullmatch(text.partition("://")[2].partition("/")[2]):
            raise _bad(text, "a path may only have printable ASCII characters; write others as %XX")
        try:
            parts = urlsplit(text)
        except ValueError as exc:
            raise _bad(text, str(exc)) from exc
        tls, over_rest = scheme.endswith("s"), scheme.startswith("http")
        if parts.query or parts.fragment or (parts.path.strip("/") and not over_rest):
            raise _bad(text, "only host and port are allowed")
        address = parts.netloc
        if over_rest and not re.search(r":\d+$", address):
            address += ":443" if tls else ":80"
        return cls(_checked(address, text), over_rest, tls, parts.path.rstrip("/").removesuffix("/v1"))


def _checked(address: str, text: str) -> str:
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise _bad(text, "it is not HOST:PORT")
    if not 1 <= int(match[2]) <= 65535:
        raise _bad(text, f"the port {match[2]} is not between 1 and 65535")
    try:
        match[1].encode("ascii" if match[1].startswith("[") else "idna")
    except UnicodeError as exc:
        raise _bad(text, f"the host is not a name of the DNS ({exc})") from exc
    return address


def _checked_socket(text: str) -> str:
    path = text.removeprefix("unix:").removeprefix("//")
    if not path or not path.isprintable():
        raise _bad(text, "it has no path of a socket" if not path else "the path has control characters")
    if len(path.encode()) > _MAX_SOCKET_PATH:
        raise _bad(text, f"the path of a socket has at most {_MAX_SOCKET_PATH} bytes")
    return text


def _bad(text: str, why: str) -> TargetError:
    fix = "write it like localhost:8500 (gRPC), http://localhost:8501 (REST) or [::1]:8500"
    return TargetError(f"{arguments.shown(text)} is not a valid server address: {why}.", fix=fix, code="TFB7001")


@dataclass(frozen=True)
class ModelRef:
    """The model version that a request is for; without version and label, the latest one that is served.

    Attributes:
        model: name of the model.
        version: number of the version, or None.
        label: label of the version, or None.

    Raises:
        TargetError: the name is empty, both a version and a label are given, or one of them is wrong.
    """

    model: str
    version: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", arguments.text(self.model, "model"))
        if self.version is not None:
            version = arguments.integer(self.version, "version", 0, arguments.MAX_VERSION)
            object.__setattr__(self, "version", version)
        if self.label is not None:
            object.__setattr__(self, "label", arguments.text(self.label, "label"))
        if not self.model:
            raise TargetError(
                "The model's name is empty.", fix="give the name under which the model is served", code="TFB7009"
            )
        if self.version is not None and self.label is not None:
            raise TargetError(
                f"Both version {self.version} and label {self.label!r} were given for {self.model!r}.",
                fix="give only one of them",
                code="TFB7009",
            )

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The header that names the version or label, lower-case name and value; none if it cannot be a header's value.

        Over gRPC the label or version is in the request's body, which a proxy does not read.
        """
        if self.version is not None:
            return ((_VERSION_HEADER, str(self.version)),)
        if self.label is not None and _HEADER_VALUE.fullmatch(self.label):
            return ((_LABEL_HEADER, self.label),)
        return ()

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.model} version {self.version}"
        return self.model if self.label is None else f"{self.model} label {self.label}"


def tls_context(target: Target, root_certificates: bytes | None) -> ssl.SSLContext | None:
    """Return the settings of TLS to a REST target; None for a connection without encryption.

    Args:
        target: the server's address.
        root_certificates: PEM of the certificate authority to trust; None trusts the system's.
    """
    cadata = root_certificates.decode("ascii") if root_certificates else None
    return ssl.create_default_context(cadata=cadata) if target.tls else None


def reachable(target: Target, kind: str) -> str:
    """Return what to check when no connection to a target could be made.

    Trust in the certificate is named for every encrypted target: gRPC tells only about the last address that it tried, which may
    be another one of the host, where nothing listens.

    Args:
        target: the server's address.
        kind: gRPC or REST, what the port has to speak.
    """
    fix = f"check that the server is running and that this is its {kind} port"
    return f"{fix}, and that root_certificates holds the authority of its certificate" if target.tls else fix


def closed(where: str) -> ConnectionFailedError:
    """Return the error of a call to a client that has been closed."""
    return ConnectionFailedError(
        "The client is closed.", where=where, fix="make a new client, or close it after the last call", code="TFB7009"
    )


def too_long(what: str, limit: int, where: str) -> ProtocolError:
    """Return the error of an answer that exceeds the client's limit."""
    fix = "send smaller batches, or raise the client's max_response_bytes if the server can be trusted"
    return ProtocolError(f"{what} exceeds the limit of {limit} bytes.", where=where, fix=fix, code="TFB7008")


def hint(status: str, message: str, ref: ModelRef) -> str | None:
    """Return what a user can do about an error status, or None if the message is enough."""
    for code, fragment, fix in _HINTS:
        if status == code and fragment in message:
            return fix.format(model=ref.model)
    return None


_HINTS = (  # status, fragment of the message, what to do
    ("NOT_FOUND", "", "check the name; client.status({model!r}) lists the versions that are served"),
    (
        "INVALID_ARGUMENT",
        "version label",
        "assign the label in models.config (tfbundle promote), or give a version",
    ),
    (
        "INVALID_ARGUMENT",
        "ignature",
        "see client.metadata({model!r}) for the signatures, their inputs and dtypes",
    ),
    ("FAILED_PRECONDITION", "ignature", "see client.metadata({model!r}) for the signatures"),
    ("INVALID_ARGUMENT", "", "see client.metadata({model!r}) for names, dtypes and dims of the inputs"),
    (
        "RESOURCE_EXHAUSTED",
        "",
        "send smaller batches, or raise the server's limit on the size of messages (tfbundle serve --max_request_bytes)",
    ),
    ("UNAVAILABLE", "", "try again in a moment: the server is overloaded, starting or stopping"),
    ("UNIMPLEMENTED", "", "check that this is the gRPC port of a TensorFlow Serving server"),
)

"""How a client reaches a server: its address, the model version of a request, and errors that gRPC and REST share."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args
from urllib.parse import urlsplit

from serving.client import arguments
from serving.errors import ConnectionFailedError, ProtocolError, RequestError, ServingError, TargetError

E = TypeVar("E", bound=ServingError)

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
        address: `host:port`; over gRPC also `unix:/path`, or several addresses `ip:port,ip:port` for which calls take turns.
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

    @property
    def first_address(self) -> str:
        """The first of several addresses, or the only one."""
        return self.address.partition(",")[0]

    @property
    def grpc_name(self) -> str:
        """The address as gRPC's resolvers take it."""
        if "," not in self.address:
            return self.address
        return f"{'ipv6' if self.address.startswith('[') else 'ipv4'}:{self.address}"

    @property
    def is_loopback(self) -> bool:
        """Whether nothing that is sent leaves this machine."""
        if self.address.startswith("unix:"):
            return True
        hosts = (address.rpartition(":")[0].strip("[]").partition("%")[0] for address in self.address.split(","))
        return all(host.lower() == "localhost" or _is_loopback(host) for host in hosts)

    @classmethod
    def parse(cls, text: str, *, rest: bool = False) -> Target:
        """Parse `host:port`, `grpc://host:port`, `grpcs://…`, `http://…`, `https://…` or `unix:/path`.

        For gRPC, `host:port` may be several IP addresses with commas: `10.0.0.1:8500,10.0.0.2:8500`.

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
            return cls(_checked(text, f"http://{text}" if rest and "," in text else text), rest)
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
    if "," not in address:
        return _checked_one(address, text)
    if text.startswith("http"):
        raise _bad(text, "REST takes one address; over gRPC, calls take turns over several")
    hosts = [_checked_one(each, text).rpartition(":")[0] for each in address.split(",")]
    kinds = {_ip_version(host) for host in hosts}
    if 0 in kinds or len(kinds) != 1:
        raise _bad(text, "several addresses have to be IP addresses of one kind; a name may have several by itself")
    return address


def _ip_version(host: str) -> int:
    """Return 4 or 6 for an IP address, 0 for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).version
    except ValueError:
        return 0


def _is_loopback(host: str) -> bool:
    return _ip_version(host) != 0 and ipaddress.ip_address(host).is_loopback


def _checked_one(address: str, text: str) -> str:
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


def reachable(target: Target, kind: str) -> str:
    """Return what to check when no connection to a target could be made.

    Trust in the certificate is named for every encrypted target: gRPC tells only about the last address that it tried, which may
    be another one of the host, where nothing listens.

    Args:
        target: the server's address.
        kind: gRPC or REST, what the port has to speak.
    """
    fix = f"check that the server is running and that this is its {kind} port"
    if not target.tls:
        return fix
    return f"{fix}, and that root_certificates (Tls(ca=…), --ca) holds the authority of its certificate"


def closed(where: str) -> ConnectionFailedError:
    """Return the error of a call to a client that has been closed."""
    return ConnectionFailedError(
        "The client is closed.", where=where, fix="make a new client, or close it after the last call", code="TFB7009"
    )


def lost(target: Target, why: str, where: str) -> ConnectionFailedError:
    """Return the error of a connection that broke, or whose server stopped, while a request was under way."""
    if "oo many pings" in why or "too_many_pings" in why:
        error = ConnectionFailedError(
            f"{target.address} closed the connection because the client's keepalive pings came too often.",
            where=where,
            fix="give a longer keepalive (300 s or more), or let the server permit it: "
            "--grpc_channel_arguments=grpc.http2.min_ping_interval_without_data_ms=MILLISECONDS",
            code="TFB7021",
        )
    else:
        error = ConnectionFailedError(
            f"The connection to {target.address} was lost before the answer: {why}",
            where=where,
            fix="send it again if the model may run twice, or let the client do it: RetryPolicy(lost=True), --retry-lost",
            code="TFB7020",
        )
    error.is_lost = True
    return error


def unsent(error: E) -> E:
    """Return the error, marked as that of a request that no server has executed."""
    error.is_unexecuted = True
    return error


_UNSENT_BY_ENVOY = ("connection failure", "connection timeout", "overflow", "refused")


def was_forwarded(message: str) -> bool:
    """Return whether an UNAVAILABLE is Envoy's about a server that it had sent the request to (common/http/utility.cc)."""
    _, is_reset, reason = message.partition("reset reason:")
    return bool(is_reset) and not any(part in reason for part in _UNSENT_BY_ENVOY)


def refusal(what: str, status: str, message: str, ref: ModelRef, where: str, *, http_status: int | None = None) -> RequestError:
    """Return the error of a request that the server refused.

    Args:
        what: the sentence for the user.
        status: gRPC's name of the status code.
        message: the server's message, which decides what the user can do.
        ref: the model version of the request.
        where: the server and the model.
        http_status: the HTTP status over REST.
    """
    fix = hint(status, message, ref)
    if status == "UNAUTHENTICATED":
        return RequestError(what, status=status, http_status=http_status, where=where, fix=fix, code="TFB7019")
    return RequestError(what, status=status, http_status=http_status, where=where, fix=fix)


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
    (
        "UNAUTHENTICATED",
        "",
        "give a token that the server or its gateway accepts: Credentials(token_file=…), --token-file; check audience and expiry",
    ),
    ("UNIMPLEMENTED", "", "check that this is the gRPC port of a TensorFlow Serving server"),
)

"""How a client reaches a server: the target as written by a user, what a request is addressed to, and the
protocol that the gRPC and the REST transport share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from serving.client.examples import Classes
from serving.client.model_info import ModelInfo, VersionStatus
from serving.errors import TargetError
from serving.protocol.tensors import Array

Verb = Literal["Predict", "Classify", "Regress"]
"""RPCs that answer one signature; over REST the same in lower case."""

_ADDRESS = re.compile(r"^(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]]+):(\d{1,5})$")


@dataclass(frozen=True)
class Target:
    """Where a server is.

    Attributes:
        address: `host:port`, or `unix:/path` (gRPC only).
        path: for REST behind a proxy, what comes before `/v1`.
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
        """Read `host:port`, `grpc://host:port`, `grpcs://…`, `http://…`, `https://…` or `unix:/path`.

        Args:
            rest: what a target without a scheme means.

        Raises:
            TargetError: it is none of these.
        """
        if text.startswith("unix:") and not rest:
            return cls(text)
        scheme, separator, _ = text.partition("://")
        if not separator:
            return cls(_checked(text, text), rest)
        if scheme not in ("grpc", "grpcs", "http", "https"):
            raise _bad(text, f"the scheme {scheme!r} is unknown")
        parts = urlsplit(text)
        tls, over_rest = scheme.endswith("s"), scheme.startswith("http")
        if parts.query or parts.fragment or (parts.path.strip("/") and not over_rest):
            raise _bad(text, "there is something behind the port")
        address = parts.netloc
        if over_rest and not re.search(r":\d+$", address):
            address += ":443" if tls else ":80"
        return cls(_checked(address, text), over_rest, tls, parts.path.rstrip("/").removesuffix("/v1"))


def _checked(address: str, text: str) -> str:
    match = _ADDRESS.match(address)
    if match is None:
        raise _bad(text, "it is not HOST:PORT")
    if not 1 <= int(match[2]) <= 65535:
        raise _bad(text, f"the port {match[2]} is not between 1 and 65535")
    return address


def _bad(text: str, why: str) -> TargetError:
    fix = "write it like localhost:8500 (gRPC), http://localhost:8501 (REST) or [::1]:8500"
    return TargetError(f"The server {text!r} cannot be used: {why}.", fix=fix)


@dataclass(frozen=True)
class ModelRef:
    """What a request is addressed to; without version and label the server takes the latest.

    Raises:
        TargetError: both a version and a label.
    """

    model: str
    version: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if not self.model:
            raise TargetError("The model's name is empty.", fix="give the name under which it is served")
        if self.version is not None and self.label is not None:
            raise TargetError(
                f"Both version {self.version} and label {self.label!r} were given for {self.model!r}.",
                fix="give one of them",
            )

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.model} version {self.version}"
        return self.model if self.label is None else f"{self.model} label {self.label}"


class Transport(Protocol):
    """One way to talk. Every method raises the errors of `serving.errors`, not those of a library."""

    def predict(
        self, ref: ModelRef, signature: str, inputs: Mapping[str, Array], timeout: float
    ) -> dict[str, Array]: ...

    def prepare(
        self, ref: ModelRef, signature: str, inputs: Mapping[str, Array], timeout: float
    ) -> Callable[[], object]:
        """A predict to be sent again and again: encoded once, its answer waited for and not decoded."""

    def prepare_examples(
        self, verb: Verb, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float
    ) -> Callable[[], object]:
        """The same for Classify and Regress."""

    def classify(self, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float) -> Classes:
        """Labels and scores of each `tensorflow.Example` message."""

    def regress(self, ref: ModelRef, signature: str, examples: Sequence[Any], timeout: float) -> list[float]:
        """A number for each `tensorflow.Example` message."""

    def metadata(self, ref: ModelRef, timeout: float) -> ModelInfo: ...

    def status(self, ref: ModelRef, timeout: float) -> list[VersionStatus]: ...

    def close(self) -> None: ...


def hint(status: str, message: str, ref: ModelRef) -> str | None:
    """What a user can do about an error status, or None where the message says it all."""
    for code, fragment, fix in _HINTS:
        if status == code and fragment in message:
            return fix.format(model=ref.model)
    return None


_HINTS = (
    ("NOT_FOUND", "", "client.status({model!r}) lists the versions that are served; is the name right?"),
    (
        "INVALID_ARGUMENT",
        "version label",
        "assign the label in models.config (tfbundle promote), or give a version",
    ),
    (
        "INVALID_ARGUMENT",
        "ignature",
        "client.metadata({model!r}) lists the signatures, their inputs and dtypes",
    ),
    ("FAILED_PRECONDITION", "ignature", "client.metadata({model!r}) lists the signatures"),
    ("INVALID_ARGUMENT", "", "client.metadata({model!r}) lists names, dtypes and dims of the inputs"),
    ("RESOURCE_EXHAUSTED", "", "send smaller batches, or raise the server's limit on messages"),
    ("UNAVAILABLE", "", "the server is overloaded, starting or stopping: try again in a moment"),
    ("UNIMPLEMENTED", "", "is this TensorFlow Serving, at its gRPC port?"),
)

"""An HTTP request and its response, as the REST API takes and returns them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from serving.server.observability.tracing import Trace
from serving.server.rest_api.answers import HeldAnswer
from serving.server.rest_api.gzip_body import claimed_size, is_gzipped

SMALL_BODY = 2**18
"""Most bytes of an unpacked body that a thread of the server reads. This takes less than 10 ms for numbers."""


@dataclass(frozen=True)
class RestRequest:
    """An HTTP request.

    Attributes:
        method: the HTTP method.
        path: the target in the request line: not decoded, with its query string.
        headers: the headers, names in lower case.
        body: the body as it was sent, possibly gzipped.
        trace: the request's trace, or None.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | bytearray = b""
    trace: Trace | None = None

    @property
    def unpacked_size(self) -> int:
        """Bytes of the body without gzip; known without unpacking it."""
        return claimed_size(self.body) if is_gzipped(self.headers) else len(self.body)

    @property
    def is_large(self) -> bool:
        """Whether the body must be read in a process of its own."""
        return max(len(self.body), self.unpacked_size) > SMALL_BODY


@dataclass(frozen=True)
class Reply:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes | bytearray = b""


@dataclass(frozen=True)
class Unwritten:
    """A large answer that is still to be written as JSON.

    Attributes:
        held: counts the bytes of its tensors.
        write: waits for a process that is free, writes the answer there and returns the reply.
    """

    held: HeldAnswer
    write: Callable[[], Reply]


def error_page(status: HTTPStatus) -> Reply:
    """Return the page with which the HTTP server itself (libevent in the real server) ends a connection."""
    text = status.phrase
    page = f"<HTML><HEAD>\n<TITLE>{status.value} {text}</TITLE>\n</HEAD><BODY>\n<H1>{text}</H1>\n</BODY></HTML>\n"
    return Reply(status.value, {"Content-Type": "text/html", "Connection": "close"}, page.encode())

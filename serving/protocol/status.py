"""Status codes of a model server's errors, over gRPC and over HTTP.

The codes are those of `absl::Status`, which gRPC shares by number. The mapping to HTTP and the limit on a gRPC message are
the server's own (model_servers/http_server.cc, model_servers/grpc_status_util.cc).
"""

from __future__ import annotations

import re
from enum import IntEnum

_SURROGATE = re.compile(r"[\ud800-\udfff]")

GRPC_MESSAGE_LIMIT = 1024
"""Most bytes of an error message that are sent over gRPC; REST sends all of it."""


class Code(IntEnum):
    """A status code, with the number that absl and gRPC share."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


HTTP_STATUS: dict[Code, int] = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}


class StatusError(Exception):
    """A request, a load or a reload has failed with a status; as text, `CODE: message`."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"

    @property
    def utf8_message(self) -> str:
        """The message with U+FFFD in place of each surrogate escape, so that it can be encoded and put into messages."""
        return _SURROGATE.sub("\ufffd", self.message)

    @property
    def http_status(self) -> int:
        """The HTTP status of the code."""
        return HTTP_STATUS[self.code]

    @property
    def grpc_message(self) -> str:
        """The message as it is sent over gRPC, cut off if it is too long.

        The cut may be within a character. gRPC for Python cannot send half of one, so U+FFFD replaces it, which is also what
        a client in Python reads in its place. U+FFFD replaces other bytes that are not UTF-8, too: the real server sends them
        raw, which gRPC does not allow, and a client in Python then reads the whole text as Latin-1.
        """
        text = self.utf8_message.encode()
        if len(text) <= GRPC_MESSAGE_LIMIT:
            return self.utf8_message
        return text[:GRPC_MESSAGE_LIMIT].decode(errors="replace") + "...TRUNCATED"


class RefusedModelError(StatusError):
    """A version is not loaded because of what its files are. Loading them again would not help, so it is not tried."""


def invalid_argument(message: str) -> StatusError:
    """Return an error with code INVALID_ARGUMENT."""
    return StatusError(Code.INVALID_ARGUMENT, message)


def not_found(message: str) -> StatusError:
    """Return an error with code NOT_FOUND."""
    return StatusError(Code.NOT_FOUND, message)


def failed_precondition(message: str) -> StatusError:
    """Return an error with code FAILED_PRECONDITION."""
    return StatusError(Code.FAILED_PRECONDITION, message)

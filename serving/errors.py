"""Errors of the run side: client, smoke test, configuration and embedded server.

Every error says what happened, where, and what to do; the command line prints exactly that and exits with
`exit_code`.

    ExplainedError                  1   base of both packages' errors; `bundler.errors` derives from it too
    └── ServingError                1
        ├── TargetError             2   HOST:PORT, a flag or an argument given by the user is wrong
        │   └── ConfigError         2   a config file of TensorFlow Serving is wrong (also a start-up error)
        ├── TensorError             1   an array cannot become a tensor, or a tensor cannot be parsed
        ├── GoldenError             1   golden data is missing or damaged
        ├── LaunchError             1   a server could not be started, or ended before it was ready
        ├── ConnectionFailedError   1   no server answers at the target
        ├── DeadlineError           1   no answer arrived in time
        │   └── NotReadyError       1   the model did not become available in time
        ├── RequestError            1   the server answered with an error status (`.status`)
        └── ProtocolError           1   the server's answer does not follow TensorFlow Serving's protocol

The server half answers errors as status codes instead, see `serving.protocol.status`.
"""

from __future__ import annotations


class ExplainedError(Exception):
    """An error that a user can cause and that explains itself.

    Args:
        what: what happened, in one sentence that quotes the offending value.
        where: the file, node, flag, server or line of the user's model that it concerns.
        fix: what the user can do about it, as an imperative.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  to do: {self.fix}")
        return "\n".join(lines)


class ServingError(ExplainedError):
    """Base of all errors of the run side."""


class TargetError(ServingError):
    """A server address, a flag or an argument is wrong."""

    exit_code = 2


class ConfigError(TargetError):
    """A config file or an option of a server is wrong, or what it names cannot be used: a folder, a port, a certificate."""


class TensorError(ServingError):
    """An array cannot be written as a tensor, or a tensor cannot be read."""


class GoldenError(ServingError):
    """A file of golden data or recorded requests is missing or damaged."""


class LaunchError(ServingError):
    """A server could not be started, or ended by itself."""


class ConnectionFailedError(ServingError):
    """No server answers at the target."""


class DeadlineError(ServingError):
    """A server did not answer in time."""


class NotReadyError(DeadlineError):
    """A model did not become available in time, or could not be loaded."""


class RequestError(ServingError):
    """The server refused a request.

    Attributes:
        status: gRPC's name of the status code, e.g. `NOT_FOUND`; over REST, the code that the HTTP status stands for.
        http_status: the HTTP status over REST, None over gRPC.
    """

    def __init__(
        self,
        what: str,
        *,
        status: str,
        http_status: int | None = None,
        where: str | None = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.status = status
        self.http_status = http_status


class ProtocolError(ServingError):
    """A server's answer does not follow TensorFlow Serving's protocol, or is not the expected one."""

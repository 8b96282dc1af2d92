"""Errors of the run side: client, smoke test, configuration and embedded server.

Every error says what happened, where, and what to do; the command line prints exactly that and exits with
`exit_code`.

    ServingError                    1
    ├── TargetError                 2   HOST:PORT, a flag or an argument given by the user is wrong
    │   └── ConfigError             2   a config file of TensorFlow Serving is wrong (also a start-up error)
    ├── TensorError                 1   an array that a tensor cannot hold, or a tensor that does not parse
    ├── GoldenError                 1   golden data is missing or damaged
    ├── LaunchError                 1   a server could not be started, or did not become ready
    ├── ConnectionFailedError       1   nobody answers at the target
    ├── DeadlineError               1   no answer in time
    │   └── NotReadyError           1   the model did not become available in time
    ├── RequestError                1   the server answered with an error status (`.status`)
    └── ProtocolError               1   the server answered something that TensorFlow Serving does not

The server half answers errors as status codes instead, see `serving.protocol.status`.
"""

from __future__ import annotations


class ServingError(Exception):
    """Base of all errors a user can cause.

    Args:
        what: what happened, one sentence with the offending value in it.
        where: the server, model, file or tensor it happened at.
        fix: what the user can do about it.
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


class TargetError(ServingError):
    exit_code = 2


class ConfigError(TargetError):
    pass


class TensorError(ServingError):
    pass


class GoldenError(ServingError):
    pass


class LaunchError(ServingError):
    pass


class ConnectionFailedError(ServingError):
    pass


class DeadlineError(ServingError):
    pass


class NotReadyError(DeadlineError):
    pass


class RequestError(ServingError):
    """The server refused.

    Attributes:
        status: gRPC's name of the code, e.g. `NOT_FOUND`; over REST the one that the HTTP status stands for.
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
    pass

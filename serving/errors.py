"""Errors of the run side: client, smoke test, configuration and embedded server.

Every error says what happened, where, and what to do; the command line prints exactly that and exits with
`exit_code`.

    ExplainedError                  1   base of both packages' errors; `bundler.errors` derives from it too
    └── ServingError                1
        ├── MissingExtraError       2   a package of an extra that was not installed
        ├── TargetError             2   HOST:PORT, a flag or an argument given by the user is wrong
        │   └── ConfigError         2   a config file of TensorFlow Serving is wrong (also a start-up error)
        ├── TensorError             1   an array cannot become a tensor, or a tensor cannot be parsed
        ├── GoldenError             1   golden data is missing or damaged
        ├── LaunchError             1   a server could not be started, or ended before it was ready
        ├── ConnectionFailedError   1   no server answers at the target, or the connection was lost
        │   └── TlsError            1   a certificate was not accepted, or the port does not speak TLS
        ├── DeadlineError           1   no answer arrived in time
        │   └── NotReadyError       1   the model did not become available in time
        ├── RequestError            1   the server answered with an error status (`.status`)
        └── ProtocolError           1   the server's answer does not follow TensorFlow Serving's protocol

Every error has a code, such as TFB7002, which stands for one kind of problem with its own cause and way out:
`serving.error_codes` has a page for each, and `tfbundle explain CODE` prints it. A class whose errors are all of one kind
states the code itself; otherwise each place that raises an error gives `code=`.

The server half answers errors as status codes instead, see `serving.protocol.status`.
"""

from __future__ import annotations


class ExplainedError(Exception):
    """An error that a user can cause and that explains itself.

    Args:
        what: what happened, in one sentence that quotes the offending value.
        where: the file, node, flag, server or line of the user's model that it concerns.
        fix: what the user can do about it, as an imperative.
        code: the code of this kind of problem, if the class does not state it.
    """

    exit_code = 1
    code = ""

    def __init__(
        self, what: str, *, where: str | None = None, fix: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix
        if code:
            self.code = code

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  to do: {self.fix}")
        return "\n".join(lines)


_SHOWN = 3
"""The most packages that the message about missing packages names."""


class ServingError(ExplainedError):
    """Base of all errors of the run side.

    Attributes:
        is_unexecuted: whether the server certainly has not executed the request, so that a repetition does no harm.
        retry_after: seconds that the server asks to wait before a repetition; below 0 for no repetition; None if it does not say.
    """

    is_unexecuted = False
    retry_after: float | None = None


class MissingExtraError(ServingError):
    """Packages are not installed; the message names the extra that installs them.

    Args:
        packages: names of the missing packages, with commas.
        extra: the extra of tfbundle that requires them.
        purpose: the feature that needs them, as the subject of the message.
        command: the command to recommend instead of the extra, where installing the extra would do harm.
    """

    code = "TFB8001"
    exit_code = 2

    def __init__(self, packages: str, extra: str, *, purpose: str, command: str | None = None) -> None:
        names = packages.split(", ")
        shown, more = names[:_SHOWN], len(names) - _SHOWN
        quoted = [*map(repr, shown), *([f"{more} more"] if more > 0 else [])]
        first, last = ", ".join(quoted[:-1]), quoted[-1]
        text = f"packages {first} and {last}, which are" if first else f"package {last}, which is"
        super().__init__(f"{purpose} needs the {text} not installed.", fix=command or f"pip install 'tfbundle[{extra}]'")
        self.package = packages
        self.extra = extra


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
    """No server answers at the target, or the connection was lost before the answer.

    Attributes:
        is_lost: whether there was a connection, so that the server may have executed the request.
    """

    code = "TFB7002"
    is_lost = False


class TlsError(ConnectionFailedError):
    """A certificate was not accepted, by the client or by the server, or the port does not speak TLS."""


class DeadlineError(ServingError):
    """A server did not answer in time."""

    code = "TFB7004"


class NotReadyError(DeadlineError):
    """A model did not become available in time, or could not be loaded."""

    code = "TFB7005"


class RequestError(ServingError):
    """The server refused a request.

    Attributes:
        status: gRPC's name of the status code, e.g. `NOT_FOUND`; over REST, the code that the HTTP status stands for.
        http_status: the HTTP status over REST, None over gRPC.
    """

    code = "TFB7006"

    def __init__(
        self,
        what: str,
        *,
        status: str,
        http_status: int | None = None,
        where: str | None = None,
        fix: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(what, where=where, fix=fix, code=code)
        self.status = status
        self.http_status = http_status


class ProtocolError(ServingError):
    """A server's answer does not follow TensorFlow Serving's protocol, or is not the expected one."""

    code = "TFB7007"

"""The server's own log: lines of text, or JSON lines that include one line per request (--log_format=json).

A request's id is the client's (`x-request-id` in gRPC metadata or an HTTP header) or a new one; it is returned to the client
under the same name.
"""

from __future__ import annotations

import logging
import sys
import uuid
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from serving.errors import TargetError
from serving.server.observability.log_limits import limit_lines
from serving.texts import json_text, printable

REQUEST_ID = "x-request-id"
FORMATS = ("text", "json")
_LONGEST_ID = 128
_LONGEST_ERROR = 1024

access_log = logging.getLogger("serving.access")


def log_format(arguments: Iterable[str]) -> str:
    """Return a command line's log format. It is read before the other flags, whose errors are logged in that format."""
    values = [argument.partition("=")[2] for argument in arguments if argument.startswith("--log_format=")]
    return values[-1] if values else FORMATS[0]


def configure_logging(log_format: str) -> None:
    """Log to stderr, a limited number of lines per kind.

    Args:
        log_format: one of FORMATS.

    Raises:
        TargetError: the format is unknown.
    """
    if log_format not in FORMATS:
        raise TargetError(
            f"Unknown --log_format {log_format!r}.", fix=f"choose one of: {', '.join(FORMATS)}", code="TFB6002"
        )
    handler = logging.StreamHandler(sys.stderr)
    text = TextFormatter("%(asctime)s %(levelname).1s %(message)s")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    limit_lines(handler)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class TextFormatter(logging.Formatter):
    """Formats a record as one line, followed by its traceback. What a client sent cannot begin a line or act on a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's name)
        """Return the line of a record."""
        record.message = printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802  (logging's name)
        """Return the lines of a traceback."""
        return printable(super().formatException(ei), lines=True)


class JsonFormatter(logging.Formatter):
    """Formats a record as a line of JSON: time (UTC), level, logger, message, and the fields of a request."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line of JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "request", {}),
        }
        if record.exc_info:
            line["exception"] = record.exc_text or self.formatException(record.exc_info)
        return json_text(line)


def request_id(metadata: Iterable[tuple[str, Any]]) -> str:
    """Return the client's id for a request, or a new id if it sent none that is safe to log.

    Args:
        metadata: pairs of a lower-case name and a value: gRPC metadata or HTTP headers.
    """
    for name, value in metadata:
        if name == REQUEST_ID and isinstance(value, str) and value.isprintable() and 0 < len(value) <= _LONGEST_ID:
            return value
    return uuid.uuid4().hex


def log_request(identity: str, *, model: str, api: str, entrypoint: str, status: str, seconds: float, error: str = "") -> None:
    """Write the log line of an answered request.

    Args:
        identity: the request's id.
        model: the model's name; empty if unknown.
        api: the RPC method, or `predict`, `classify`, `regress` or `describe` for REST.
        entrypoint: `GRPC` or `REST`.
        status: name of the status code, e.g. `OK`.
        seconds: time that the answer took.
        error: message of an error; empty if there is none.
    """
    fields = {
        "request_id": identity, "model": model, "api": api, "entrypoint": entrypoint, "status": status,
        "milliseconds": round(seconds * 1e3, 3),
    }  # fmt: skip
    if error:
        fields["error"] = error[:_LONGEST_ERROR]
    access_log.info("%s %s %s", api, model, status, extra={"request": fields})

"""The server's own log: lines for a person, or JSON lines with one for each request (--log_format=json).

A request's id is what its client calls it (`x-request-id` in gRPC metadata or an HTTP header), else one that is made; it
goes back to the client under the same name.
"""

from __future__ import annotations

import json
import logging
import sys
import uuid
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from serving.errors import TargetError

REQUEST_ID = "x-request-id"
FORMATS = ("text", "json")
_LONGEST_ID = 128

access_log = logging.getLogger("serving.access")


def log_format(arguments: Iterable[str]) -> str:
    """The format that a command line asks for: what goes wrong in reading the rest of it is logged already."""
    chosen = [argument.partition("=")[2] for argument in arguments if argument.startswith("--log_format=")]
    return chosen[-1] if chosen else FORMATS[0]


def configure_logging(log_format: str) -> None:
    """Log to stderr.

    Raises:
        TargetError: a format that there is not.
    """
    if log_format not in FORMATS:
        raise TargetError(f"--log_format is {log_format!r}.", fix=f"one of {', '.join(FORMATS)}")
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname).1s %(message)s")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class JsonFormatter(logging.Formatter):
    """A line of JSON: time (UTC), level, logger, message, and the fields of a request."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "request", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def request_id(metadata: Iterable[tuple[str, Any]]) -> str:
    """The client's id for a request, or a new one where it gives none that can stand in a log."""
    for name, value in metadata:
        if name == REQUEST_ID and isinstance(value, str) and value.isprintable() and 0 < len(value) <= _LONGEST_ID:
            return value
    return uuid.uuid4().hex


def log_request(identity: str, *, model: str, api: str, entrypoint: str, status: str, seconds: float, error: str = "") -> None:
    """One request that was answered, as a line of the log."""
    fields = {
        "request_id": identity, "model": model, "api": api, "entrypoint": entrypoint, "status": status,
        "milliseconds": round(seconds * 1e3, 3),
    }  # fmt: skip
    if error:
        fields["error"] = error
    access_log.info("%s %s %s", api, model, status, extra={"request": fields})

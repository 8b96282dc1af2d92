"""Errors of a unit as plain data: they come from other processes and machines, and from the cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bundler import errors
from bundler.errors import TfbundleError
from bundler.process.causes import cause_of


def to_json(exc: BaseException) -> dict[str, Any]:
    """Return an error as plain data. An exception that is not a TfbundleError becomes one that names its type."""
    if isinstance(exc, TfbundleError):
        facts = {"what": exc.what, "where": exc.where, "fix": exc.fix, "code": exc.code, "exit_code": exc.exit_code}
        return {"class": type(exc).__name__, **facts}
    cause = f"{type(exc).__name__}: {cause_of(exc)}" if str(exc).strip() else type(exc).__name__
    fix = "build this model alone with --debug for the traceback"
    return {"class": "TfbundleError", "what": f"Unexpected {cause}", "where": None, "fix": fix, "code": "TFB8901", "exit_code": 1}


def from_json(data: Mapping[str, Any]) -> TfbundleError:
    """Return the error that `to_json` described, of the same class where that takes nothing but the message."""
    kind = getattr(errors, str(data["class"]), TfbundleError)
    known = isinstance(kind, type) and issubclass(kind, TfbundleError) and kind.__init__ is TfbundleError.__init__
    error = (kind if known else TfbundleError)(data["what"], where=data["where"], fix=data["fix"], code=data["code"])
    error.exit_code = int(data["exit_code"])
    return error

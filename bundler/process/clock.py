"""The time that is written into what a build makes.

With SOURCE_DATE_EPOCH (reproducible-builds.org/specs/source-date-epoch) the same build writes the same bytes: this is the time
of everything, and nothing that is measured with a clock is recorded.
"""

from __future__ import annotations

import os
from datetime import datetime, timezone

from bundler.errors import UsageError

EPOCH_ENV = "SOURCE_DATE_EPOCH"
_LARGEST = 253402300799  # the end of the year 9999


def source_date() -> datetime | None:
    """Return the time that the environment gives to builds, or None.

    Raises:
        UsageError: the variable does not hold a number of seconds.
    """
    text = os.environ.get(EPOCH_ENV, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) <= _LARGEST):
        raise UsageError(
            f"{EPOCH_ENV} is {text[:40]!r}, which is not a number of seconds since 1970.",
            fix=f"set it to a whole number, e.g. {EPOCH_ENV}=$(git log -1 --format=%ct), or unset it",
            code="TFB1002",
        )
    return datetime.fromtimestamp(int(text), timezone.utc)


def records_times() -> bool:
    """Return whether measured times are recorded: only without SOURCE_DATE_EPOCH."""
    return source_date() is None


def now_text() -> str:
    """Return the time of a build in ISO 8601, in UTC and to the second."""
    return (source_date() or datetime.now(timezone.utc)).isoformat(timespec="seconds")

"""Sizes and durations as text for people."""

from __future__ import annotations

from collections.abc import Sequence

BINARY_UNITS = ("B", "KiB", "MiB", "GiB")
DECIMAL_UNITS = ("B", "kB", "MB", "GB")


def size_text(size: float) -> str:
    """Return a size in bytes with a binary unit and three significant digits: `1.5 KiB`."""
    return _scaled(size, 1024, BINARY_UNITS, ".3g")


def decimal_size_text(size: float) -> str:
    """Return a size in bytes with a decimal unit and one decimal place: `1.2 MB`."""
    return _scaled(size, 1000, DECIMAL_UNITS, ".1f")


def milliseconds_text(value: float) -> str:
    """Return a duration in milliseconds as text, in seconds from 1,000 ms on."""
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"


def _scaled(size: float, step: int, units: Sequence[str], number_format: str) -> str:
    power = 0
    while size >= step and power < len(units) - 1:
        size /= step
        power += 1
    return f"{size:{number_format if power else '.0f'}} {units[power]}"

"""Figures as a person reads them."""

from __future__ import annotations


def size_text(size: float) -> str:
    """A size in bytes with the unit that leaves one to four digits."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB"


def milliseconds_text(value: float) -> str:
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"

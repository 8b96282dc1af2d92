"""JSON objects whose keys may repeat."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


class JsonObject(dict[str, Any]):
    """A JSON object whose keys may repeat: a dict with the first value of each key.

    Attributes:
        pairs: all members as (key, value), in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[str, Any]] = []

    def add(self, key: str, value: Any) -> None:
        """Append a member."""
        self.pairs.append((key, value))
        self.setdefault(key, value)


def members(value: dict[str, Any]) -> Collection[tuple[str, Any]]:
    """Return all members of an object in order, including those with equal keys."""
    return value.pairs if isinstance(value, JsonObject) else value.items()


def c_string(key: str) -> str:
    """Return a key as C++ code sees it that treats it as a C string: up to its first NUL."""
    return key.partition("\0")[0]

"""A JSON object whose keys may repeat."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


class JsonObject(dict[str, Any]):
    """An object whose keys may repeat: a dict of the first member of each key.

    Attributes:
        pairs: all members, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[str, Any]] = []

    def add(self, key: str, value: Any) -> None:
        self.pairs.append((key, value))
        self.setdefault(key, value)


def members(value: dict[str, Any]) -> Collection[tuple[str, Any]]:
    """All members of an object in order, those of equal keys too."""
    return value.pairs if isinstance(value, JsonObject) else value.items()


def c_string(key: str) -> str:
    """A key as C++ code sees it that takes it for a C string: up to its first NUL."""
    return key.partition("\0")[0]

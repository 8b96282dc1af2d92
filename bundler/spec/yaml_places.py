"""Lines and columns of the keys and values of a bundle.yaml, for the messages about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class YamlPlace:
    """A place in a file; lines and columns count from 1, as in editors."""

    path: Path
    line: int
    column: int

    @property
    def text(self) -> str:
        """The place without the file."""
        return f"line {self.line}, column {self.column}"

    def __str__(self) -> str:
        return f"{self.path}, {self.text}"


@dataclass(frozen=True)
class Places:
    """The places in a valid YAML file. It is parsed again when the first place is asked for.

    Attributes:
        source: the file's text.
        path: the file.
        origins: for each model, its place in the file's list, if patterns stand for several models.
    """

    source: str
    path: Path
    origins: tuple[int, ...] = ()

    def of_value(self, keys: Sequence[int | str]) -> YamlPlace:
        """Return the place of a value; for one that is not in the file, that of the innermost section around it."""
        return self._place(self._walk(keys)[1])

    def of_key(self, keys: Sequence[int | str]) -> YamlPlace:
        """Return the place of a key."""
        key, value = self._walk(keys)
        return self._place(key or value)

    def _place(self, node: Any) -> YamlPlace:
        mark = node.start_mark if node is not None else None
        return YamlPlace(self.path, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1)

    @cached_property
    def _root(self) -> Any:
        from ruamel.yaml import YAML

        return YAML(typ="safe", pure=True).compose(self.source)

    def _walk(self, keys: Sequence[int | str]) -> tuple[Any, Any]:
        """Return the nodes of a key and its value; of the innermost ones that exist."""
        key, value = None, self._root
        if len(keys) > 1 and keys[0] == "models" and isinstance(keys[1], int) and keys[1] < len(self.origins):
            keys = ("models", self.origins[keys[1]], *keys[2:])
        for part in keys:
            found = _child(value, part)
            if found is None:
                break
            key, value = found
        return key, value


def _child(node: Any, part: int | str) -> tuple[Any, Any] | None:
    if node is None or not isinstance(node.value, list):
        return None
    if node.id == "sequence":
        return (None, node.value[part]) if isinstance(part, int) and part < len(node.value) else None
    return next(((key, value) for key, value in node.value if str(key.value) == str(part)), None)

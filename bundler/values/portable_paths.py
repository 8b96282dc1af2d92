"""Keeps the folders of the machine that builds out of what is published: a bundle names files, not where they were."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

_WHOLE = re.compile(r"(?P<scheme>[a-z]+:)?(?P<path>/.*?)(?P<rest>:[\w.]+)?", re.DOTALL)
"""A source or an option that is an absolute path, such as `/home/me/net.py:make` or `hf:/home/me/model`."""

_IN_TEXT = re.compile(r"""(?<![\w./~-])/[^"'<>|\n]{1,1000}""")
"""A piece of text that may begin with an absolute path; the path may have blanks, and other text may follow it."""

_NAME_END = re.compile(r"[\s:,;()\[\]{}]")
_FEWEST_PARTS = 2  # "/", and the name of a folder that every machine may have, such as /tmp


class PortablePaths:
    """Replaces absolute paths by paths relative to `base` or to Python's libraries, or by a file's name if it is elsewhere.

    Only paths that exist on this machine are replaced, and the folders of files that do not exist any more: the names of
    layers and nodes may look like absolute paths, too.

    Args:
        base: folder that relative paths of the build start from.
    """

    def __init__(self, base: Path) -> None:
        libraries = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")]
        self._roots = [base.absolute(), base.resolve(), *libraries]
        self._start = lru_cache(self._shorten_start)  # the nodes of a graph share their stack frames

    def value(self, value: Any) -> Any:
        """Return plain data with the paths in all its texts replaced; the keys of mappings stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value

    def text(self, text: str) -> str:
        """Return a text with its paths replaced."""
        if "/" not in text:
            return text
        whole = _WHOLE.fullmatch(text)
        if whole and _exists(whole["path"]):
            return f"{whole['scheme'] or ''}{self._short(whole['path'])}{whole['rest'] or ''}"
        pieces, position = [], 0
        while match := _IN_TEXT.search(text, position):
            shortened, length = self._start(match[0])
            pieces += [text[position : match.start()], shortened]
            position = match.start() + length
        return "".join([*pieces, text[position:]])

    def _shorten_start(self, text: str) -> tuple[str, int]:
        """Return the shortened path that a text begins with, and the length of the path that it replaces."""
        path = _longest_path(text)
        if len(PurePath(path).parts) <= _FEWEST_PARTS:
            return "/", 1
        if not text.startswith("/", len(path)):
            return self._short(path), len(path)
        folder = self._relative(path)  # of a file that does not exist any more
        return "" if folder in (None, ".") else f"{folder}/", len(path) + 1

    def _short(self, path: str) -> str:
        relative = self._relative(path)
        if relative is not None:
            return relative
        return "~" if PurePath(path) == Path.home() else PurePath(path).name

    def _relative(self, path: str) -> str | None:
        for root in self._roots:
            with suppress(ValueError):
                return PurePath(path).relative_to(root).as_posix()
        return None


def _longest_path(text: str) -> str:
    """Return the longest existing path that a text begins with."""
    folder = ""
    for name in text.split("/")[1:]:
        ends = [len(name), *(match.start() for match in reversed(list(_NAME_END.finditer(name))))]
        found = next((name[:end] for end in ends if end and _exists(f"{folder}/{name[:end]}", fewest=0)), None)
        if found is None:
            break
        folder = f"{folder}/{found}"
        if found != name:
            break
    return folder


def _exists(path: str, *, fewest: int = _FEWEST_PARTS) -> bool:
    try:
        return len(PurePath(path).parts) > fewest and Path(path).exists()
    except (OSError, ValueError):  # too long, or with a NUL
        return False

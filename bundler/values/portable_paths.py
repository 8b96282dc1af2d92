"""Keeps the folders of the machine that builds out of what is published: a bundle names files, not where they were."""

from __future__ import annotations

import re
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

_WHOLE = re.compile(r"(?P<scheme>[a-z]+:)?(?P<path>/.*?)(?P<rest>:[\w.]+)?", re.DOTALL)
"""A source or an option that is an absolute path, such as `/home/me/net.py:make` or `hf:/home/me/model`."""

_IN_TEXT = re.compile(r"""(?<![\w./~-])/[^\s:"'<>|,;()\[\]{}]+""")
_FEWEST_PARTS = 2  # of a folder that is removed: "/" would remove too much


class PortablePaths:
    """Replaces absolute paths by paths relative to `base`, or by a file's name if it is elsewhere.

    Only paths that exist on this machine are replaced: the names of layers and nodes may look like absolute paths, too.

    Args:
        base: folder that relative paths of the build start from.
    """

    def __init__(self, base: Path) -> None:
        self._base = base.absolute()
        libraries = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")]
        folders = [self._base, self._base.resolve(), Path.cwd(), *libraries, Path(tempfile.gettempdir())]
        known = sorted({str(folder) for folder in folders if len(folder.parts) >= _FEWEST_PARTS}, key=len, reverse=True)
        self._folders = re.compile(rf"(?<![\w./~-])(?:{'|'.join(map(re.escape, known))})/")

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
        return _IN_TEXT.sub(lambda match: self._short(match[0]) if _exists(match[0]) else match[0], self._folders.sub("", text))

    def _short(self, path: str) -> str:
        try:
            return PurePath(path).relative_to(self._base).as_posix()
        except ValueError:
            return PurePath(path).name or path


def _exists(path: str) -> bool:
    try:
        return len(PurePath(path).parts) > _FEWEST_PARTS and Path(path).exists()
    except (OSError, ValueError):  # too long, or with a NUL
        return False

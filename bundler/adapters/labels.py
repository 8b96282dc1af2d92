"""Names of classes: a list, or a UTF-8 file with one a line."""

from __future__ import annotations

from pathlib import Path

from bundler.errors import UsageError


def read_labels(labels: str | tuple[str, ...], base: Path) -> tuple[str, ...]:
    """The names in the order of the classes.

    Args:
        base: folder that a relative path starts from.

    Raises:
        UsageError: the file cannot be read, there is none, or one is empty.
    """
    if not isinstance(labels, str):
        return _checked(labels, "labels")
    path = base / labels
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise UsageError(
            f"The labels {labels} cannot be read: {reason}.",
            where=str(path),
            fix="give a text file with one label a line, or a list, e.g. labels: [cat, dog]",
        ) from exc
    return _checked(tuple(line.strip() for line in lines), str(path))


def _checked(names: tuple[str, ...], where: str) -> tuple[str, ...]:
    if not names or "" in names:
        number = names.index("") + 1 if names else 1
        raise UsageError(f"Label {number} is empty.", where=where, fix="give every class a name, one a line")
    return names

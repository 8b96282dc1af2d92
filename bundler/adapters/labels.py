"""Class labels: a list, or a UTF-8 text file with one label per line."""

from __future__ import annotations

from pathlib import Path

from bundler.errors import UsageError
from serving.texts import is_printable


def read_labels(labels: str | tuple[str, ...], base: Path) -> tuple[str, ...]:
    """Return the labels in the order of the classes.

    Args:
        labels: the labels, or the path of a file.
        base: folder that a relative path starts from.

    Raises:
        UsageError: the file cannot be read, there are no labels, or a label is empty.
    """
    if not isinstance(labels, str):
        return _checked(labels, "labels")
    path = base / labels
    try:
        lines = path.read_text("utf-8-sig").removesuffix("\n").split("\n")
    except (OSError, ValueError) as exc:  # ValueError: text that is not UTF-8, or a NUL in the path
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise UsageError(
            f"The labels {labels} cannot be read: {reason}.",
            where=str(path),
            fix="give a text file with one label per line; bundle.yaml also takes a list, e.g. labels: [cat, dog]",
            code="TFB1303",
        ) from exc
    return _checked(tuple(line.strip() for line in lines), str(path))


def _checked(labels: tuple[str, ...], where: str) -> tuple[str, ...]:
    if not labels or "" in labels:
        number = labels.index("") + 1 if labels else 1
        raise UsageError(
            f"Label {number} is empty.", where=where, fix="give every class a name, one per line", code="TFB1303"
        )
    for number, label in enumerate(labels, 1):
        if not is_printable(label):
            raise UsageError(
                f"Label {number}, {label!r}, has a character that cannot be shown.",
                where=where,
                fix="write one line of visible text for every class",
                code="TFB1303",
            )
    return labels

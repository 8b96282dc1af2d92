"""Labels of a classifier: a text file with one a line, for one of its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bundler.errors import UsageError
from bundler.mobile.metadata import Labels
from bundler.values.signature import TensorSpec


def read_labels(text: str, outputs: Sequence[TensorSpec]) -> Labels:
    """Labels for the output whose last axis is as long as the file.

    Args:
        text: `FILE`, or `OUTPUT=FILE` where several outputs would do.
        outputs: of the .tflite files.

    Raises:
        UsageError: the file cannot be read or has an empty line, or no output, or more than one, has so many entries.
    """
    output, equals, file = text.rpartition("=")
    names = _read(Path(file))
    found = [spec.name for spec in outputs if _entries(spec) == len(names) and (not equals or spec.name == output)]
    if len(found) == 1:
        return Labels(found[0], names)
    takes = ", ".join(map(str, outputs))
    if found:
        raise UsageError(
            f"{len(names)} labels fit more than one output ({', '.join(found)}).", fix=f"write {found[0]}={file}"
        )
    named = f"the output {output!r}" if equals else "no output"
    raise UsageError(
        f"The file has {len(names)} labels, and {named} has {'not ' if equals else ''}so many entries along its last axis.",
        where=file,
        fix=f"the outputs are {takes}; a label a line",
    )


def _entries(spec: TensorSpec) -> int | None:
    """Entries along the last axis of an output of scores."""
    last = spec.dims[-1] if len(spec.dims) > 1 else None
    return last if isinstance(last, int) else None


def _read(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise UsageError(f"The labels {path} cannot be read: {reason}.") from exc
    names = tuple(line.strip() for line in lines)
    if "" in names or not names:
        number = names.index("") + 1 if names else 1
        raise UsageError(f"Line {number} of the labels is empty.", where=str(path), fix="give every class a name")
    return names

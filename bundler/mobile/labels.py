"""Labels of a classifier for one of its outputs, from a text file with one label per line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bundler.adapters.labels import read_labels
from bundler.errors import UsageError
from bundler.mobile.metadata import Labels
from bundler.values.signature import TensorSpec
from serving.texts import shell_command


def read_output_labels(text: str, outputs: Sequence[TensorSpec]) -> Labels:
    """Read labels for the output whose last axis has as many entries as the file has lines.

    Args:
        text: `FILE`, or `OUTPUT=FILE` if several outputs fit.
        outputs: the outputs of the .tflite files.

    Raises:
        UsageError: the file cannot be read or has an empty line, or no output, or more than one, has this many entries.
    """
    output, equals, file = text.rpartition("=")
    names = read_labels(file, Path())
    candidates = [spec.name for spec in outputs if _entries(spec) == len(names) and (not equals or spec.name == output)]
    if len(candidates) == 1:
        return Labels(candidates[0], names)
    if candidates:
        raise UsageError(
            f"{len(names)} labels fit more than one output ({', '.join(candidates)}).",
            fix=f"write --labels {shell_command(f'{candidates[0]}={file}')}",
            code="TFB1303",
        )
    mismatch = f"the output {output!r} does not have" if equals else "no output has"
    count = "1 label" if len(names) == 1 else f"{len(names)} labels"
    raise UsageError(
        f"The file has {count}, but {mismatch} this many entries along its last axis.",
        where=file,
        fix=f"give one label per line; the outputs are {', '.join(map(str, outputs))}",
        code="TFB1303",
    )


def _entries(spec: TensorSpec) -> int | None:
    """Return the number of entries along the last axis of an output with two or more axes."""
    last = spec.dims[-1] if len(spec.dims) > 1 else None
    return last if isinstance(last, int) else None

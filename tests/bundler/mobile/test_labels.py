"""Labels for an output."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.errors import UsageError
from bundler.mobile.labels import read_output_labels
from bundler.mobile.metadata import Labels
from bundler.values.signature import TensorSpec
from tests.bundler.mobile.models import CLASSES

OUTPUTS = (TensorSpec.parse("scores=float32[1,3]"), TensorSpec.parse("boxes=float32[1,9,3]"))


def test_labels_are_matched_to_an_output(labels: Path, tmp_path: Path) -> None:
    assert read_output_labels(str(labels), OUTPUTS[:1]) == Labels("scores", CLASSES)
    assert read_output_labels(f"boxes={labels}", OUTPUTS).output == "boxes"
    with pytest.raises(UsageError, match="more than one output"):
        read_output_labels(str(labels), OUTPUTS)
    with pytest.raises(UsageError, match="output 'no' does not have this many"):
        read_output_labels(f"no={labels}", OUTPUTS)
    short = tmp_path / "short.txt"
    short.write_text("a\nb\n")
    with pytest.raises(UsageError, match="has 2 labels, but no output has this many"):
        read_output_labels(str(short), OUTPUTS)
    short.write_text("a\n\nb\n")
    with pytest.raises(UsageError, match="Label 2 is empty"):
        read_output_labels(str(short), OUTPUTS)
    short.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_output_labels(str(short), OUTPUTS)

"""SavedModels compared with golden data."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.errors import ParityError
from bundler.validation import parity
from bundler.validation.golden import make_golden
from bundler.validation.golden_check import check_golden
from serving.golden.data import Golden
from tests.bundler.hand_written import Converted, exported, slightly_wrong

TOLERANCE = 1e-4


def test_golden_data_read_from_disk_detects_a_changed_weight(tmp_path: Path) -> None:
    golden = make_golden("m", parity.run_references([exported(tmp_path / "m.onnx")]), tolerance=TOLERANCE)
    assert [case.name for case in golden.cases] == ["example", "random", "batch-1", "batch-5", "seq-5"]
    golden.save(tmp_path / "golden.npz")
    Converted().save(tmp_path / "same")
    loaded = Golden.load(tmp_path / "golden.npz")
    assert check_golden(loaded, tmp_path / "same").passed
    Converted(**slightly_wrong("head")).save(tmp_path / "other")
    assert not check_golden(loaded, tmp_path / "other").passed


def test_a_folder_without_saved_model_is_reported(tmp_path: Path) -> None:
    golden = make_golden("m", parity.run_references([exported(tmp_path / "m.onnx")]), tolerance=TOLERANCE)
    with pytest.raises(ParityError, match="TensorFlow cannot load"):
        check_golden(golden, tmp_path / "nothing")


def test_another_signature_fails_every_output_of_its_case(tmp_path: Path) -> None:
    Converted().save(tmp_path / "1")
    one = exported(tmp_path / "m.onnx")
    one.name = "other"
    report = check_golden(make_golden("m", parity.run_references([one]), tolerance=TOLERANCE), tmp_path / "1")
    assert {row.difference.output for row in report.failures} == {"logits", "label"}
    assert "no signature 'other'" in str(report.failures[0].difference.problem)

"""Reports of failures: their place and name."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

from bundler.process.reports import keep_report


def test_a_report_goes_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = keep_report("export-My Net/v1", ".md", "é")
    assert path.parent == tmp_path and path.read_text("utf-8") == "é"
    assert re.fullmatch(r"tfbundle-export-My_Net_v1-\d{8}-\d{6}\.md", path.name)


def test_a_report_goes_to_the_temporary_folder_if_the_current_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert keep_report("x", ".log", "text").parent == tmp_path

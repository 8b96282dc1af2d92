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
    assert re.fullmatch(r"tfbundle-export-My_Net_v1-\d{8}-\d{6}-[0-9a-f]{8}\.md", path.name)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_report_goes_to_the_temporary_folder_if_the_current_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert keep_report("x", ".log", "text").parent == tmp_path


def test_a_report_never_follows_a_planted_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("mine")
    name = keep_report("x", ".md", "report").name
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("mine")
    monkeypatch.setattr("secrets.token_hex", lambda count: name.rpartition("-")[2].removesuffix(".md"))
    monkeypatch.setattr("bundler.process.reports.datetime", _Frozen(name))
    with pytest.raises(FileExistsError):
        keep_report("x", ".md", "report")
    assert (tmp_path / "mine").read_text() == "mine"


class _Frozen:
    """The time at which a report's name was made."""

    def __init__(self, name: str) -> None:
        _, _, day, clock, _ = name.split("-")
        self._stamp = f"{day}-{clock}"

    def now(self) -> _Frozen:
        return self

    def strftime(self, text: str) -> str:
        return self._stamp

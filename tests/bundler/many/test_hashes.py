"""Digests of files are remembered only for a file that cannot have changed."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest

from bundler.bundle.manifest import FileEntry
from bundler.many.hashes import SMALLEST_REMEMBERED, Hashes

OLD = time.time() - 1000


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(bytes(SMALLEST_REMEMBERED))
    os.utime(path, (OLD, OLD))
    return path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the list of files that are read."""
    paths: list[Path] = []
    original = FileEntry.of

    def of(path: Path) -> FileEntry:
        paths.append(path)
        return original(path)

    monkeypatch.setattr(FileEntry, "of", of)
    return paths


def test_large_files_are_read_once(tmp_path: Path, large: Path, read: list[Path]) -> None:
    database = tmp_path / "hashes.sqlite"
    first = Hashes(database).of(large)
    assert Hashes(database).of(large) == first and read == [large]
    large.write_bytes(b"x" * SMALLEST_REMEMBERED)
    assert Hashes(database).of(large) != first
    os.utime(large, (OLD + 1, OLD + 1))
    assert Hashes(database).of(large) != first


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path: Path, large: Path, read: list[Path]) -> None:
    os.utime(large)
    for _ in range(2):
        Hashes(tmp_path / "hashes.sqlite").of(large)
    assert read == [large, large]


def test_a_damaged_database_is_done_without(tmp_path: Path, large: Path) -> None:
    database = tmp_path / "hashes.sqlite"
    database.write_bytes(b"no database")
    assert Hashes(database).of(large) == FileEntry.of(large).sha256
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(database).execute("SELECT * FROM hashes")


def test_a_folder_is_its_files_with_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    digests = [Hashes(tmp_path / "x").of(folder)]
    (folder / "a").write_bytes(b"1")
    digests.append(Hashes(tmp_path / "x").of(folder))
    (folder / "a").rename(folder / "b")
    digests.append(Hashes(tmp_path / "x").of(folder))
    assert len(set(digests)) == 3

"""Folders as chunks: the same files come out, whatever the chunks' size, and damage is noticed."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from bundler.many.cluster.parcels import pack, unpack

FILES = {"a/x.bin": bytes(range(256)) * 5000, "empty": b"", f"{'n' * 120}/ü.txt": b"text", "big": b"x" * (3 << 20)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "from" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "from" / "empty").chmod(0o755)
    return tmp_path / "from"


def packed(folder: Path, size: int = 100_000) -> list[bytes]:
    return list(pack(((name, folder / name) for name in FILES), size))


def test_the_same_files_come_out(folder: Path, tmp_path: Path) -> None:
    chunks = packed(folder)
    assert {len(chunk) for chunk in chunks[:-1]} == {100_000}
    unpack(chunks, tmp_path / "to")
    found = {path.relative_to(tmp_path / "to").as_posix(): path for path in (tmp_path / "to").rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == FILES
    assert found["empty"].stat().st_mode & 0o100
    assert not found["big"].stat().st_mode & 0o100


def test_the_same_files_give_the_same_bytes(folder: Path) -> None:
    before = b"".join(packed(folder))
    (folder / "big").touch()
    assert b"".join(packed(folder, 7)) == before


def test_an_archive_that_was_cut_off_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(tarfile.TarError):
        unpack(packed(folder)[:-3], tmp_path / "to")


def test_a_file_that_becomes_shorter_meanwhile_is_an_error(folder: Path) -> None:
    chunks = pack([("big", folder / "big")], 1000)
    next(chunks)
    (folder / "big").write_bytes(b"")
    with pytest.raises(OSError, match="shorter"):
        list(chunks)


def test_no_file_is_written_outside(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(tarfile.TarError):
        unpack(list(pack([("../outside", tmp_path / "file")])), tmp_path / "to")
    assert not (tmp_path / "outside").exists()

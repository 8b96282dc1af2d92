from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bundler.bundle.manifest import FileEntry
from bundler.delivery.oci import seals
from bundler.delivery.oci.layers import Layer, PackedFile, Sealed
from bundler.errors import VerifyError
from bundler.process.cache import CACHE_ENV, cache_dir

NAME = "models/digits/1/saved_model.pb"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / NAME).parent.mkdir(parents=True)
    (tmp_path / NAME).write_bytes(b"model")
    return tmp_path


def seal(root: Path, entry: FileEntry) -> tuple[Sealed, bool]:
    """Return a layer's digests, and whether its files were read."""
    layer = Layer(root, "models/digits/1", [PackedFile(NAME, entry)])
    if (known := seals.known(layer)) is not None:
        return known, False
    sealed = seals.seal(layer, layer.seal)
    assert sealed is not None
    return sealed, True


def later(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + seconds)


def test_unchanged_layer_is_not_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = FileEntry.of(root / NAME)
    first, was_read = seal(root, entry)
    assert was_read
    assert seal(root, entry) == (first, True)  # the file was written just before: its times prove nothing
    later(1.0, monkeypatch)
    assert seal(root, entry) == (first, True)
    assert seal(root, entry) == (first, False)


def test_changed_file_is_read_again_also_with_the_same_size_and_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, before = FileEntry.of(root / NAME), (root / NAME).stat()
    later(1.0, monkeypatch)
    assert seal(root, entry)[1]
    assert not seal(root, entry)[1]
    (root / NAME).write_bytes(b"MODEL")
    os.utime(root / NAME, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(VerifyError, match="differs from what bundle"):
        seal(root, entry)


def test_damaged_or_unwritable_cache_only_costs_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = FileEntry.of(root / NAME)
    later(1.0, monkeypatch)
    first = seal(root, entry)[0]
    (kept,) = (cache_dir() / "layers").iterdir()
    for content in ("", "[]", '{"size": 1}', "{"):
        kept.write_text(content, "utf-8")
        assert seal(root, entry) == (first, True)
    monkeypatch.setenv(CACHE_ENV, "/proc/none")
    assert seal(root, entry) == (first, True)

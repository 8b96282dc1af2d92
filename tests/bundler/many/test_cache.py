"""The cache of built models: entries are whole or absent, and found only for what they were made of."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from bundler.bundle.manifest import FileEntry
from bundler.errors import PublishError
from bundler.many.cache import MOST_ALTERNATIVES, Cache, CacheEntry, CorruptEntryError, digest

REQUEST, KEY = digest("request"), digest("key")


def store(cache: Cache, key: str = KEY, content: bytes = b"weights", name: str = "m") -> CacheEntry:
    with cache.draft() as draft:
        file = draft / "entry" / "files" / "models" / name / "1" / "saved_model.pb"
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        return cache.store(draft / "entry", key, name, {"record": {}})


def test_an_entry_is_found_while_its_inputs_are_unchanged(cache: Cache, tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(b"one")
    entry = store(cache)
    cache.remember(REQUEST, {"model.onnx": FileEntry.of(source).sha256}, KEY)
    assert cache.find(REQUEST, "m", tmp_path) == entry
    assert cache.find(digest("other"), "m", tmp_path) is None
    source.write_bytes(b"two")
    assert cache.find(REQUEST, "m", tmp_path) is None
    source.write_bytes(b"one")
    assert cache.find(REQUEST, "m", tmp_path) == entry
    source.unlink()
    assert cache.find(REQUEST, "m", tmp_path) is None


def test_a_request_keeps_its_last_inputs(cache: Cache, tmp_path: Path) -> None:
    for number in range(MOST_ALTERNATIVES + 2):
        key = digest(number)
        store(cache, key)
        source = tmp_path / "x"
        source.write_text(str(number))
        cache.remember(REQUEST, {"x": FileEntry.of(source).sha256}, key)
    found = {}
    for number in range(MOST_ALTERNATIVES + 2):
        source.write_text(str(number))
        found[number] = cache.find(REQUEST, "m", tmp_path) is not None
    assert found == {number: number >= 2 for number in range(MOST_ALTERNATIVES + 2)}


def test_damage_of_every_kind_is_noticed(cache: Cache) -> None:
    entry = store(cache)
    entry.check()
    assert entry.result() == {"record": {}}
    for name in ("files/models/m/1/saved_model.pb", "result.json", "checksums.json"):
        file = entry.folder / name
        content = file.read_bytes()
        for damaged in (content[:-1], content + b" ", b"", content.replace(b"e", b"f", 1)):
            file.write_bytes(damaged)
            if name == "checksums.json" and damaged == content + b" ":
                continue  # the same list
            with pytest.raises(CorruptEntryError):
                entry.check()
        file.unlink()
        with pytest.raises(CorruptEntryError):
            entry.check()
        file.write_bytes(content)
    (entry.folder / "files" / "surplus").write_bytes(b"")
    with pytest.raises(CorruptEntryError, match="files/surplus is not as it was written"):
        entry.check()


def test_an_entry_of_another_model_is_refused(cache: Cache) -> None:
    entry = store(cache)
    with pytest.raises(CorruptEntryError, match="another model"):
        CacheEntry(entry.key, entry.folder, "other").check()


def test_a_damaged_request_is_as_none(cache: Cache, tmp_path: Path) -> None:
    store(cache)
    cache.remember(REQUEST, {}, KEY)
    file = next((cache.root / "requests").glob("*/*.json"))
    for content in (b"", b"[]", b'{"rows": [{"key": 1, "inputs": {}}]}', b'{"rows": 3}'):
        file.write_bytes(content)
        assert cache.find(REQUEST, "m", tmp_path) is None
    cache.remember(REQUEST, {}, KEY)
    assert cache.find(REQUEST, "m", tmp_path) is not None


def test_the_first_of_two_equal_entries_stays(cache: Cache) -> None:
    first, second = store(cache), store(cache)
    assert first == second
    first.check()
    assert not list((cache.root / "drafts").iterdir())


def test_an_entry_is_copied_from_elsewhere_if_it_is_sound(cache: Cache, tmp_path: Path) -> None:
    other = Cache(tmp_path / "other")
    entry = store(other)
    cache.adopt(entry.folder, KEY, "m").check()
    (entry.folder / "result.json").write_text("{}")
    with pytest.raises(CorruptEntryError):
        Cache(tmp_path / "third").adopt(entry.folder, KEY, "m")


def test_a_discarded_entry_is_gone(cache: Cache) -> None:
    entry = store(cache)
    cache.discard(entry)
    cache.discard(entry)
    assert cache.entry(KEY, "m") is None and not list((cache.root / "drafts").iterdir())


def test_full_disk_while_an_entry_is_written_leaves_none(cache: Cache) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, limits[1]))  # a write beyond it fails like one on a full disk
    try:
        with pytest.raises(PublishError, match="no space left for the cache") as raised:
            store(cache, content=bytes(1 << 16))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.code == "TFB5203" and str(cache.root) in raised.value.what
    assert cache.entry(KEY, "m") is None and not list((cache.root / "drafts").iterdir())
    store(cache).check()


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PublishError, match="cannot be written") as raised:
        store(Cache(tmp_path / "file"))
    assert raised.value.code == "TFB5204"

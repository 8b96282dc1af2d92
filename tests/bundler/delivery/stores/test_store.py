"""Stores of each kind: what they list, keep and refuse."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.bundle.manifest import FileEntry
from bundler.delivery.stores import store as stores
from bundler.delivery.stores.store import open_store
from bundler.errors import MissingExtraError, UsageError, VerifyError
from bundler.operations.stores import pull_store, push_store, verify_store
from bundler.values.addresses import StoreAddress
from serving import extras
from tests.bundler.delivery.stores.buckets import Bucket, memory_address, tree


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def web(digits: Path) -> Iterator[StoreAddress]:
    """Return the address of a web server that has the bundle."""
    handler = functools.partial(_Silent, directory=str(digits.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield StoreAddress("http", f"127.0.0.1:{server.server_address[1]}/digits")
        server.shutdown()
        thread.join(10)


def test_a_web_server_is_pulled_from_and_verified_without_a_listing(web: StoreAddress, digits: Path, tmp_path: Path) -> None:
    pull_store(web, tmp_path / "copy")
    files = {path: data for path, data in tree(digits).items() if data is not None}
    assert {path: data for path, data in tree(tmp_path / "copy").items() if data is not None} == files
    (digits / "onnx" / "digits" / "1.onnx").write_text("onnx weights X")
    assert [(each.path, each.serious) for each in verify_store(web).problems] == [("onnx/digits/1.onnx", True)]


def test_a_folder_by_its_url_is_a_store(digits: Path, tmp_path: Path) -> None:
    address = StoreAddress("file", f"{tmp_path}/store/digits")
    push_store(digits, address)
    pull_store(address, tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(digits)


def test_an_address_without_a_bundle(bucket: Bucket) -> None:
    for address in (bucket.address("empty"), memory_address()):
        with pytest.raises(VerifyError, match=r"is not a bundle: it has no bundle\.json") as caught:
            open_store(address).open()
        assert caught.value.code == "TFB9108"


@pytest.mark.parametrize("size", [10, 2 * stores.PART_BYTES + 1], ids=["one request", "several parts"])
def test_a_bucket_keeps_the_sha256_of_objects_of_any_size(bucket: Bucket, tmp_path: Path, size: int) -> None:
    source, store = tmp_path / "file.bin", open_store(bucket.address())
    source.write_bytes(bytes(size))
    entry, moved = FileEntry.of(source), []
    store.upload(source, "file.bin", entry, moved.append)
    assert store.sha256("file.bin") == entry.sha256 and sum(moved) == size
    bucket.write("digits/file.bin", bytes(size - 1) + b"x")
    assert store.sha256("file.bin") is None
    moved.clear()
    store.download("file.bin", tmp_path / "copy", moved.append)
    assert (tmp_path / "copy").stat().st_size == size == sum(moved)


def test_a_replacement_on_condition_fails_for_another_content(bucket: Bucket) -> None:
    store = open_store(bucket.address())
    assert store.replace_manifest(b"1", None) and not store.replace_manifest(b"2", None)
    found = store.stored("bundle.json")
    assert found and store.replace_manifest(b"3", found.token) and not store.replace_manifest(b"4", found.token)
    assert bucket.read("digits/bundle.json") == b"3"


def test_names_that_lead_out_of_the_folder_are_not_listed(bucket: Bucket) -> None:
    for key in ("digits/a", "digits/../b", "digits//c", "digits2/d"):
        bucket.write(key, b"")
    assert list(open_store(bucket.address()).listing() or ()) == ["a"]


@pytest.mark.parametrize(
    ("scheme", "module", "fix"),
    [
        ("s3", "s3fs", "pip install 'tfbundle[s3]'"),
        ("gs", "gcsfs", "pip install 'tfbundle[gcs]'"),
        ("az", "adlfs", "pip install adlfs"),
        ("abfs", "adlfs", "pip install adlfs"),
        ("https", "fsspec", "pip install 'tfbundle[remote]'"),
    ],
)
def test_a_missing_package_is_named_with_its_command(
    scheme: str, module: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda name: name != module)
    monkeypatch.setattr(stores, "is_installed", lambda name: name != module)
    with pytest.raises(MissingExtraError) as caught:
        open_store(StoreAddress(scheme, "bucket/digits"))
    assert caught.value.fix == fix and caught.value.what.startswith(f"{scheme}://")


@pytest.mark.parametrize("scheme", ["http", "https", "hf"])
def test_stores_that_are_only_read_say_so(scheme: str) -> None:
    with pytest.raises(UsageError, match="can only be read") as caught:
        open_store(StoreAddress(scheme, "host/digits")).check_writable()
    assert caught.value.code == "TFB9107"

"""What a download checks, and what it leaves behind when it fails."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest

from bundler.bundle.manifest import Manifest
from bundler.delivery.stores import store as stores
from bundler.delivery.stores.download import INCOMING
from bundler.delivery.stores.store import Store, open_store
from bundler.errors import DeliveryError, PublishError, VerifyError
from bundler.operations.stores import pull_store, push_store
from bundler.values.addresses import StoreAddress
from tests.bundler.delivery.stores.buckets import Bucket, memory_address, tree
from tests.bundler.delivery.stores.tiny import MODEL, build

WEIGHTS = f"models/{MODEL}/1/variables/variables.data-00000-of-00001"


@pytest.fixture
def pushed(digits: Path) -> StoreAddress:
    """Return the address of the bundle in memory."""
    address = memory_address()
    push_store(digits, address)
    return address


def failing(monkeypatch: pytest.MonkeyPatch, part: str, error: Callable[[], Exception]) -> None:
    """Let the download of objects whose path has `part` in it fail after half of the bytes."""
    real = Store.download

    def download(self: Store, path: str, target: Path, advance: stores.Advance) -> None:
        real(self, path, target, advance)
        if part in path:
            target.write_bytes(target.read_bytes()[: target.stat().st_size // 2])
            raise error()

    monkeypatch.setattr(Store, "download", download)


def test_a_lost_connection_leaves_no_folder_and_the_next_pull_fetches_only_the_rest(
    pushed: StoreAddress, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(DeliveryError, match="connection lost"):
        failing(patch, "report.html", lambda: DeliveryError("connection lost", code="TFB9105"))
        pull_store(pushed, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    pulled = pull_store(pushed, tmp_path / "copy")
    files = [path for path, data in tree(digits).items() if data is not None]
    assert 0 < pulled.files < len(files) - 1
    assert tree(tmp_path / "copy") == tree(digits)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_full_disk_leaves_nothing(pushed: StoreAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out" / "copy"
    with monkeypatch.context() as patch, pytest.raises(PublishError, match="no space left") as caught:
        failing(patch, WEIGHTS, lambda: OSError(errno.ENOSPC, "No space left on device", str(target)))
        pull_store(pushed, target)
    assert caught.value.code == "TFB5002" and list((tmp_path / "out").iterdir()) == []
    pull_store(pushed, target)


def test_too_little_space_is_noticed_before_the_first_byte(
    pushed: StoreAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    monkeypatch.setattr(Store, "download", None)
    with pytest.raises(PublishError, match=r"needs 0.00 GB, and 0.00 GB are free") as caught:
        pull_store(pushed, tmp_path / "copy")
    assert caught.value.code == "TFB5002" and not (tmp_path / "copy").exists()


def test_a_changed_byte_in_the_store_is_not_taken_over(bucket: Bucket, digits: Path, tmp_path: Path) -> None:
    push_store(digits, bucket.address())
    data = bucket.read(f"digits/{WEIGHTS}")
    bucket.write(f"digits/{WEIGHTS}", data[:-1] + b"X")
    with pytest.raises(VerifyError, match=rf"{WEIGHTS} is missing .* or is not the file that bundle.json names") as caught:
        pull_store(bucket.address(), tmp_path / "copy")
    assert caught.value.code == "TFB9110" and not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", ["../stolen", "/tmp/stolen", "models/../../stolen"])
def test_a_bundle_json_with_a_path_that_leads_out_is_refused(pushed: StoreAddress, tmp_path: Path, name: str) -> None:
    store = open_store(pushed)
    found = store.open()
    files = {**found.manifest.files, name: found.manifest.files["report.html"]}
    store.write("bundle.json", Manifest(found.manifest.spec, found.manifest.models, files).to_bytes())
    with pytest.raises(VerifyError) as caught:
        pull_store(pushed, tmp_path / "in" / "copy")
    assert caught.value.code == "TFB5102" and not list(tmp_path.rglob("stolen*"))


def test_a_link_in_the_way_is_replaced_and_not_followed(pushed: StoreAddress, digits: Path, tmp_path: Path) -> None:
    outside, work = tmp_path / "outside", tmp_path / ".copy.pulling"
    outside.mkdir()
    work.mkdir()
    (work / "models").symlink_to(outside)
    (work / "report.html").symlink_to(outside / "report.html")
    pull_store(pushed, tmp_path / "copy")
    assert list(outside.iterdir()) == [] and tree(tmp_path / "copy") == tree(digits)


def test_what_an_older_pull_left_does_not_get_into_the_bundle(pushed: StoreAddress, digits: Path, tmp_path: Path) -> None:
    work = tmp_path / ".copy.pulling"
    for path in ("models/other/7/saved_model.pb", f"{INCOMING}/half", "k8s/old.yaml"):
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text("left")
    pull_store(pushed, tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(digits)


def test_a_publication_during_a_download_begins_it_again(
    pushed: StoreAddress, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer, real, calls = build(copytree(digits, tmp_path / "newer" / "digits")), Store.download, []

    def download(self: Store, path: str, target: Path, advance: stores.Advance) -> None:
        if path == "report.html" and not calls:
            calls.append(push_store(newer, pushed))
        real(self, path, target, advance)

    monkeypatch.setattr(Store, "download", download)
    pull_store(pushed, tmp_path / "copy")
    assert calls and tree(tmp_path / "copy") == tree(newer)


def test_a_list_of_folders_that_leads_out_creates_nothing(pushed: StoreAddress, tmp_path: Path) -> None:
    open_store(pushed).write(".tfbundle/folders.json", json.dumps({"empty_folders": ["../x", "models/digits/9/assets"]}).encode())
    pull_store(pushed, tmp_path / "in" / "copy")
    assert not (tmp_path / "in" / "x").exists() and not (tmp_path / "in" / "copy" / "models" / MODEL / "9").exists()

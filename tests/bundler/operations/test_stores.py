"""Pulling into a folder that is there already; tests/bundler/delivery/stores has the rest."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from bundler.bundle.manifest import Manifest
from bundler.errors import UsageError
from bundler.operations import stores
from bundler.operations.stores import NEEDED, local_copy, pull_store, push_store
from bundler.process.cache import CACHE_ENV
from bundler.values.addresses import StoreAddress
from tests.bundler.delivery.stores.buckets import memory_address, tree
from tests.bundler.delivery.stores.tiny import MODEL, build


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    return build(tmp_path / "local" / "digits")


@pytest.fixture
def pushed(digits: Path) -> StoreAddress:
    address = memory_address()
    push_store(digits, address)
    return address


def test_a_second_pull_fetches_what_is_new_and_keeps_edited_files(pushed: StoreAddress, digits: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    pull_store(pushed, copy)
    assert not pull_store(pushed, copy).changed
    push_store(build(digits), pushed)
    (copy / "report.html").write_text("edited")
    inode = (copy / "models" / MODEL / "1" / "saved_model.pb").stat().st_ino
    pulled = pull_store(pushed, copy)
    assert pulled.files == 8
    assert pulled.notices == ("report.html had been edited; your version is kept beside it as report.html.orig.",)
    assert (copy / "models" / MODEL / "1" / "saved_model.pb").stat().st_ino == inode
    assert {path: data for path, data in tree(copy).items() if path != "report.html.orig"} == tree(digits)


def test_a_folder_with_other_files_is_left_alone(pushed: StoreAddress, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.jpg").touch()
    with pytest.raises(UsageError, match="exists and is not a bundle") as caught:
        pull_store(pushed, folder)
    assert caught.value.code == "TFB9116" and [path.name for path in folder.iterdir()] == ["cat.jpg"]


def test_an_empty_folder_is_filled(pushed: StoreAddress, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    pull_store(pushed, tmp_path / "empty")
    assert tree(tmp_path / "empty") == tree(digits)


@pytest.mark.parametrize("is_other", [False, True], ids=["only here", "another one there"])
def test_versions_that_the_store_lacks_are_not_lost(is_other: bool, pushed: StoreAddress, digits: Path, tmp_path: Path) -> None:
    mine = build(copytree(digits, tmp_path / "mine" / "digits"), text="mine")
    if is_other:
        push_store(build(digits, text="theirs"), pushed)
    before = tree(mine)
    with pytest.raises(UsageError, match="Version 2 of model 'digits' in") as caught:
        pull_store(pushed, mine)
    assert caught.value.code == "TFB9116" and tree(mine) == before


def test_a_crash_before_the_rename_leaves_the_folder_as_it_was(
    pushed: StoreAddress, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    pull_store(pushed, copy)
    before = tree(copy)
    push_store(build(digits), pushed)

    def crash(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stores.Staging, "publish", crash)
        pull_store(pushed, copy)
    assert tree(copy) == before
    pull_store(pushed, copy)
    assert tree(copy) == tree(digits)


def test_a_server_needs_only_the_versions_that_it_serves(pushed: StoreAddress, digits: Path) -> None:
    push_store(build(digits), pushed)
    root = local_copy(pushed, NEEDED["served"])
    models = [path for path, data in tree(root).items() if data is not None and path.startswith("models/")]
    assert {path.split("/")[2] for path in models} == {"2"} and len(models) == 3
    assert not (root / "onnx").exists() and not (root / "tflite").exists() and (root / "golden" / MODEL / "2.npz").exists()


@pytest.mark.parametrize(
    ("needed", "parts"),
    [("without_weights", {"golden"}), ("mobile", {"golden", "tflite"}), ("whole", {"golden", "tflite", "onnx", "models"})],
)
def test_a_command_fetches_what_it_reads(needed: str, parts: set[str], pushed: StoreAddress, digits: Path) -> None:
    files = NEEDED[needed](Manifest.read(digits / "bundle.json"))
    wanted = {path.split("/")[0] for path in Manifest.read(digits / "bundle.json").files if files(path)}
    assert wanted == parts | {"serving", "k8s", "report.html"}

"""Local copies of a store's bundle: what they hold, and when they are fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.bundle.layout import version_of
from bundler.delivery.stores import mirror
from bundler.delivery.stores.download import everything
from bundler.delivery.stores.mirror import reading, writing
from bundler.delivery.stores.store import Store, open_store
from bundler.delivery.transfers import Transfer
from bundler.errors import DeliveryError, UsageError, VariantsError, VerifyError
from bundler.operations.stores import pull_store, push_store, verify_store
from bundler.values.addresses import StoreAddress
from tests.bundler.delivery.stores.buckets import memory_address, tree
from tests.bundler.delivery.stores.tiny import MODEL, build


@pytest.fixture
def pushed(digits: Path) -> StoreAddress:
    """Return the address of the bundle in memory."""
    address = memory_address()
    push_store(digits, address)
    return address


def read(address: StoreAddress) -> tuple[Path, list[str]]:
    """Return a mirror's folder and what was fetched for it."""
    events: list[Transfer] = []
    root = reading(address, lambda manifest: everything, events.append).root
    return root, [event.name for event in events if event.outcome == "pulled"]


def test_unchanged_files_are_not_fetched_again_and_damaged_ones_are(pushed: StoreAddress, digits: Path) -> None:
    root, fetched = read(pushed)
    assert fetched == ["9 files"] and tree(root) == tree(digits) and root.name == "digits"
    assert read(pushed) == (root, [])
    (root / "report.html").write_bytes((root / "report.html").read_bytes()[:-1] + b"X")
    (root / "models" / MODEL / "1" / "extra.txt").write_text("planted")
    assert read(pushed) == (root, ["1 file"]) and tree(root) == tree(digits)


def test_a_build_into_a_store_fetches_no_weights(pushed: StoreAddress, digits: Path, tmp_path: Path) -> None:
    with writing(pushed) as local:
        owned = [path for path, data in tree(local.root).items() if data is not None and version_of(path)]
        assert owned == [f"golden/{MODEL}/1.npz"]
        build(local.root)
    pull_store(pushed, tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(build(digits)) and verify_store(pushed).problems == []


def test_the_first_build_into_an_empty_address(tmp_path: Path) -> None:
    address = memory_address()
    with pytest.raises(VerifyError, match="is not a bundle"), writing(address):
        pass
    with writing(address, may_be_new=True) as local:
        build(local.root)
    pull_store(address, tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(build(tmp_path / "here" / "digits"))


def test_a_command_that_fails_or_changes_nothing_writes_nothing(pushed: StoreAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "create", None)
    with writing(pushed):
        pass
    with pytest.raises(ZeroDivisionError), writing(pushed) as local:
        build(local.root)
        raise ZeroDivisionError


def test_a_bundle_without_some_variants_is_published_before_the_error(pushed: StoreAddress) -> None:
    with pytest.raises(VariantsError), writing(pushed) as local:
        build(local.root)
        raise VariantsError("int8 is below its gate", below_gate=True)
    assert open_store(pushed).open().manifest.versions(MODEL) == [1, 2]


def test_a_failed_upload_names_the_command_that_goes_on_with_it(
    pushed: StoreAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*arguments: object) -> None:
        raise DeliveryError("denied", fix="ask for permissions", code="TFB9103")

    with pytest.raises(DeliveryError) as caught, monkeypatch.context() as patch, writing(pushed) as local:
        build(local.root)
        patch.setattr(Store, "upload", denied)
    assert f"`tfbundle push {local.root} {pushed}` uploads what was built" in str(caught.value.fix)
    assert open_store(pushed).open().manifest.versions(MODEL) == [1]
    push_store(local.root, pushed)
    assert verify_store(pushed).problems == [] and open_store(pushed).open().manifest.versions(MODEL) == [1, 2]


def test_what_was_not_uploaded_is_not_part_of_the_next_build(pushed: StoreAddress, digits: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing(pushed) as local:
        build(local.root, text="abandoned")
        raise ZeroDivisionError
    with writing(pushed) as local:
        build(local.root, text="weights")
    root, _ = read(pushed)
    assert tree(root) == tree(build(digits))


def test_a_second_build_on_this_machine_is_refused(pushed: StoreAddress) -> None:
    with writing(pushed), pytest.raises(DeliveryError, match="Another command on this machine") as caught, writing(pushed):
        pass
    assert caught.value.code == "TFB9109"


def test_a_build_on_another_machine_that_published_first_wins(pushed: StoreAddress, digits: Path, tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="Another command has published") as caught, writing(pushed) as local:
        build(local.root, text="slower")
        push_store(build(digits, text="faster"), pushed)
    assert caught.value.code == "TFB9114" and caught.value.fix == "repeat the command, which then begins with what is there now"
    pull_store(pushed, tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(digits)


def test_a_version_that_was_removed_from_the_store_is_dropped_by_the_next_build(pushed: StoreAddress, digits: Path) -> None:
    push_store(build(digits), pushed)
    store = open_store(pushed)
    store.remove([path for path in store.listing() or () if version_of(path) == (MODEL, 1)])
    with writing(pushed) as local:
        build(local.root)
    assert store.open().manifest.versions(MODEL) == [2, 3] and verify_store(pushed).problems == []


def test_a_read_that_never_settles_ends_with_a_message(pushed: StoreAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(*arguments: object) -> None:
        raise mirror.ChangedError

    monkeypatch.setattr(mirror.Download, "run", changed)
    with pytest.raises(DeliveryError, match="changed during each of 3 downloads"):
        read(pushed)


def test_adoption_is_refused() -> None:
    with pytest.raises(UsageError, match="--adopt reads a model repository"), writing(memory_address(), adopts=True):
        pass

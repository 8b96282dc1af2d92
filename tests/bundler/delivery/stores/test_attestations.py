"""A signed bundle stays signed on its way through a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.bundle.layout import BundleLayout
from bundler.operations.stores import NEEDED, local_copy, pull_store, push_store
from bundler.process.cache import CACHE_ENV
from tests.bundler.delivery.stores.buckets import memory_address
from tests.bundler.delivery.stores.tiny import MODEL, build


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BundleLayout:
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
    return BundleLayout(build(tmp_path / "local" / "digits"))


def sign(layout: BundleLayout, text: str) -> None:
    for path in (layout.signature, layout.bom, layout.provenance_file(MODEL, 1)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{path.name} {text}")


def read(layout: BundleLayout) -> list[str]:
    paths = (layout.signature, layout.bom, layout.provenance_file(MODEL, 1))
    return [path.read_text().rpartition(" ")[2] if path.exists() else "none" for path in paths]


def test_the_signature_and_the_papers_are_pushed_pulled_and_renewed(digits: BundleLayout, tmp_path: Path) -> None:
    address, copy = memory_address(), BundleLayout(tmp_path / "copy")
    sign(digits, "first")
    assert push_store(digits.root, address).files > 3
    pull_store(address, copy.root)
    assert read(copy) == ["first"] * 3
    assert read(BundleLayout(local_copy(address, NEEDED["whole"]))) == ["first"] * 3
    sign(digits, "second")
    again = push_store(digits.root, address)
    assert (again.files, again.changed) == (3, False) and push_store(digits.root, address).files == 0
    assert not pull_store(address, copy.root).changed and read(copy) == ["second"] * 3


def test_a_signature_follows_an_update_and_an_unsigned_push_leaves_the_store_as_it_is(
    digits: BundleLayout, tmp_path: Path
) -> None:
    address, copy = memory_address(), BundleLayout(tmp_path / "copy")
    push_store(digits.root, address)
    pull_store(address, copy.root)
    assert read(copy) == ["none"] * 3
    build(digits.root)
    sign(digits, "new")
    push_store(digits.root, address)
    assert pull_store(address, copy.root).changed and read(copy) == ["new"] * 3
    for path in (digits.signature, digits.bom):
        path.unlink()
    assert push_store(digits.root, address).files == 0
    assert read(BundleLayout(local_copy(address, NEEDED["whole"]))) == ["new"] * 3

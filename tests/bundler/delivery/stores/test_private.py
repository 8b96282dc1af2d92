from __future__ import annotations

import json

import pytest

from bundler.delivery.stores.private import folders_from_bytes, folders_to_bytes, is_inside


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a//b", "", "a/./b", "a\\..\\b", "a\0b", "a/"])
def test_names_that_leave_the_folder_are_noticed(name: str) -> None:
    assert not is_inside(name)


@pytest.mark.parametrize("name", ["bundle.json", "models/m/1/saved_model.pb", "a/..b/c", ".tfbundle/lease.json"])
def test_usual_names_are_inside(name: str) -> None:
    assert is_inside(name)


def test_the_list_of_empty_folders_is_sorted_and_comes_back() -> None:
    data = folders_to_bytes(["b", "a", "b"])
    assert folders_from_bytes(data) == ["a", "b"]


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[]", b'{"empty_folders": 1}', b"[" * 100_000], ids=["none", "bytes", "list", "int", "deep"]
)
def test_another_content_counts_as_no_folders(data: bytes) -> None:
    assert folders_from_bytes(data) == []


def test_folders_that_lead_out_of_the_bundle_are_left_out() -> None:
    data = json.dumps({"empty_folders": ["../../tmp/x", "/tmp/x", 3, "models/m/1/assets"]}).encode()
    assert folders_from_bytes(data) == ["models/m/1/assets"]

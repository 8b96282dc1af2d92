"""Files of sources: what is wrong with a path, and a near miss."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.errors import SourceError
from bundler.sources.files import file_provenance, find_file


def fix_for(text: str, folder: Path) -> str:
    with pytest.raises(SourceError) as caught:
        find_file(text, folder, what="The model file")
    assert caught.value.fix is not None
    return caught.value.fix


def test_similar_names_with_the_same_extension_are_suggested(tmp_path: Path) -> None:
    for name in ("model.onnx", "model.pt"):
        (tmp_path / name).touch()
    assert fix_for("modle.onnx", tmp_path) == "did you mean model.onnx?"
    assert "check the path" in fix_for("nothing-like-it.onnx", tmp_path)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    assert f"the folder {tmp_path / 'gone'} does not exist" in fix_for("gone/model.onnx", tmp_path)


def test_folder_is_not_a_file(tmp_path: Path) -> None:
    assert fix_for(".", tmp_path) == "give a file in it"


def test_provenance_has_name_size_and_hash(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"abc")
    assert file_provenance(find_file("w.bin", tmp_path, what="The weights file")) == {
        "file": "w.bin",
        "size_bytes": 3,
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }

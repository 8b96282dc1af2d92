"""Converted models written as SavedModels."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree, rmtree

from bundler.saved_model.write import replace_saved_model


def test_a_new_folder_gets_the_graph_and_the_variables(saved: Path) -> None:
    assert (saved / "saved_model.pb").is_file()
    assert (saved / "variables" / "variables.index").is_file()


def test_a_saved_model_is_replaced_and_other_files_of_its_folder_stay(saved: Path, tmp_path: Path) -> None:
    folder, other = Path(copytree(saved, tmp_path / "1")), Path(copytree(saved, tmp_path / "other"))
    (folder / "model.tflite").write_bytes(b"lite")
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "assets" / "old.txt").write_text("old", "utf-8")
    rmtree(other / "assets", ignore_errors=True)
    (other / "saved_model.pb").write_bytes(b"new")
    replace_saved_model(folder, other)
    assert (folder / "saved_model.pb").read_bytes() == b"new"
    assert (folder / "model.tflite").read_bytes() == b"lite"
    assert (folder / "variables" / "variables.index").is_file() and not (folder / "assets").exists()

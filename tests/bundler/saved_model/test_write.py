"""Converted models written as SavedModels."""

from __future__ import annotations

from pathlib import Path


def test_a_new_folder_gets_the_graph_and_the_variables(saved: Path) -> None:
    assert (saved / "saved_model.pb").is_file()
    assert (saved / "variables" / "variables.index").is_file()

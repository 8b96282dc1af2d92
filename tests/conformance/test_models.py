"""The models of the onnx wheel (PyTorch's first exporter, opset 6 and later) through the engine, as `test_nodes` does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.cases import FOLDERS, model_cases, saved_cases
from tests.conformance.judge import assert_as_listed

NAMES = sorted(model_cases())


@pytest.mark.parametrize("name", NAMES)
def test_graph(name: str) -> None:
    assert_as_listed(name)


@pytest.mark.parametrize("name", saved_cases(NAMES))
def test_saved_model(name: str, tmp_path: Path) -> None:
    assert_as_listed(name, tmp_path / "1")


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_has_at_least_20_cases(folder: str) -> None:
    assert sum(name.startswith(f"{folder}/") for name in NAMES) > 20

"""The golden data that the smoke test of a running server uses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import bundler
from bundler.operations.smoke import served_golden_files
from bundler.render.parts import rerender
from bundler.spec.bundle_spec import parse_spec
from bundler.validation.bundle import Bundle


@pytest.mark.slow
def test_golden_data_of_the_served_versions_is_used(small_bundle: Path, mlp_onnx: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_bundle, tmp_path / "small"))
    bundler.build(mlp_onnx, out=folder)
    assert [(file.model, file.version) for file in served_golden_files(Bundle.open(folder))] == [("mlp", 2)]
    rerender(folder, ("serving",), parse_spec({"serving": {"versions": {"mlp": [1, 2]}}}, where="the test"))
    files = served_golden_files(Bundle.open(folder))
    assert [(file.model, file.version) for file in files] == [("mlp", 1), ("mlp", 2)]
    assert all(file.path.is_file() for file in files)

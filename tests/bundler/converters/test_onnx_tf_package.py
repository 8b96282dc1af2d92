"""Where the onnx-tf package is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.converters import onnx_tf_package
from bundler.process.cache import CACHE_ENV


def test_the_own_folder_is_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "own"))
    assert onnx_tf_package.setup_folder() == tmp_path / "own" / "onnx-tf" / "1.10.0"


def test_the_own_folder_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_ENV, str(tmp_path))
    monkeypatch.setattr(onnx_tf_package, "version", lambda name: "1.9.0")
    assert (onnx_tf_package.own_folder(), onnx_tf_package.describe()) == (None, "1.9.0 in the environment")
    folder = onnx_tf_package.setup_folder()
    folder.mkdir(parents=True)
    assert (onnx_tf_package.own_folder(), onnx_tf_package.describe()) == (folder, f"1.10.0 in {folder}")

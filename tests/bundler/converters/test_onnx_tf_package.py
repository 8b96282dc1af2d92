"""Where the onnx-tf package is looked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bundler.converters import onnx_tf_package


def test_the_cache_is_in_the_folder_of_the_variable_or_in_the_system_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(onnx_tf_package.CACHE_ENV, str(tmp_path / "own"))
    assert onnx_tf_package.setup_folder() == tmp_path / "own" / "onnx-tf" / "1.10.0"
    monkeypatch.delenv(onnx_tf_package.CACHE_ENV)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    for value in ("", "relative"):  # the XDG specification ignores relative paths
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert onnx_tf_package.cache_dir() == tmp_path / ".cache" / "tfbundle"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert onnx_tf_package.cache_dir() == tmp_path / "xdg" / "tfbundle"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert onnx_tf_package.cache_dir() == tmp_path / "Library" / "Caches" / "tfbundle"


def test_the_own_folder_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(onnx_tf_package.CACHE_ENV, str(tmp_path))
    monkeypatch.setattr(onnx_tf_package, "version", lambda name: "1.9.0")
    assert (onnx_tf_package.own_folder(), onnx_tf_package.describe()) == (None, "1.9.0 in the environment")
    folder = onnx_tf_package.setup_folder()
    folder.mkdir(parents=True)
    assert (onnx_tf_package.own_folder(), onnx_tf_package.describe()) == (folder, f"1.10.0 in {folder}")

"""Where the onnx-tf package is: in a folder of its own that `tfbundle setup onnx-tf` made, or else in the environment.

The folder lies in the user's cache and holds nothing but the package, so that no other program sees it. It gets its name only
when it is complete (`bundler.operations.setup`), so a folder that is there can be used.
"""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bundler.process.cache import cache_dir

VERSION = "1.10.0"
"""The last release, of 2022."""

SETUP = "tfbundle setup onnx-tf"
"""The command that installs the package."""


def setup_folder() -> Path:
    """Return the folder that `tfbundle setup onnx-tf` makes; it need not exist."""
    return cache_dir() / "onnx-tf" / VERSION


def own_folder() -> Path | None:
    """Return the folder that `tfbundle setup onnx-tf` has made; None if it has not."""
    folder = setup_folder()
    return folder if folder.is_dir() else None


def is_available() -> bool:
    """Return whether the package is in its own folder or in the environment."""
    return own_folder() is not None or importlib.util.find_spec("onnx_tf") is not None


def describe() -> str:
    """Return the version of the package and where it is, such as `1.10.0 in the environment`; empty if it is nowhere."""
    folder = own_folder()
    if folder is not None:
        return f"{VERSION} in {folder}"
    try:
        return f"{version('onnx-tf')} in the environment"
    except PackageNotFoundError:
        return ""

"""A file of labels, and the export of a model that takes BGR images."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.mobile import ExportOptions, export_mobile
from bundler.validation.bundle import Bundle
from tests.bundler.mobile.models import CLASSES, COLORS, build_color_bundle

VARIANTS = ("float32", "float16", "dynamic", "int8", "int8-io", "int16x8")


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "classes.txt"
    path.write_text("".join(f"{name}\n" for name in CLASSES), "utf-8")
    return path


@pytest.fixture(scope="session")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an export of a model that takes BGR images, in all variants. Copy it before you change it."""
    folder = tmp_path_factory.mktemp("colors")
    bundle = build_color_bundle(folder, VARIANTS)
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in COLORS), "utf-8")
    export_mobile(Bundle.open(bundle), folder / "out", ExportOptions(labels=str(folder / "labels.txt")))
    return folder / "out"


@pytest.fixture(scope="session")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an export of the same model whose files take RGB pixels, channels last."""
    folder = tmp_path_factory.mktemp("pixels")
    bundle = build_color_bundle(folder, ("float32",), fold=True)
    export_mobile(Bundle.open(bundle), folder / "out")
    return folder / "out"

"""The paths of a bundle: names of models, versions, and the way back from a path to its version."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.bundle.layout import BundleLayout, check_model_name, parse_version, version_of
from bundler.errors import UsageError


@pytest.mark.parametrize("name", ["resnet18", "a", "a.b-c_d", "9lives", "x" * 63])
def test_a_valid_model_name_is_returned(name: str) -> None:
    assert check_model_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a..b", "-a", "a/b", "a b", "ä", "x" * 64, "digits\n"])
def test_an_invalid_model_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be used as a folder and URL name"):
        check_model_name(name)


@pytest.mark.parametrize(
    ("text", "version"), [("1", 1), ("20", 20), ("0", None), ("01", None), ("-1", None), ("1.5", None), ("٣", None), ("", None)]
)
def test_only_canonical_versions_are_parsed(text: str, version: int | None) -> None:
    assert parse_version(text) == version


def test_a_path_leads_back_to_its_version() -> None:
    layout = BundleLayout(Path("/b"))
    paths = (
        layout.version_dir("m", 2), layout.warmup("m", 2), layout.fast_path_file("m", 2), layout.golden_file("m", 2),
        layout.tflite_file("m", 2, "int8"), layout.onnx_file("m", 2), layout.onnx_file("m", 2, "embed"),
    )  # fmt: skip
    assert {version_of(layout.relative(path)) for path in paths} == {("m", 2)}
    assert version_of(layout.relative(layout.report)) is None
    assert version_of("models/m/extra/2") is None


def test_taken_versions_include_those_of_single_parts(tmp_path: Path) -> None:
    layout = BundleLayout(tmp_path)
    for path in (layout.version_dir("m", 1), layout.golden_file("m", 3), layout.onnx_file("m", 4, "embed")):
        path.mkdir(parents=True)
    (layout.model_dir("m") / "backup").mkdir()
    assert layout.versions("m") == [1]
    assert layout.taken_versions("m") == {1, 3, 4}
    assert layout.models() == ["m"]
    assert layout.version_parts("m", 4) == [layout.onnx_file("m", 4, "embed")]


def test_a_folder_without_models_has_none(tmp_path: Path) -> None:
    layout = BundleLayout(tmp_path)
    assert (layout.models(), layout.versions("m"), layout.taken_versions("m")) == ([], [], set())

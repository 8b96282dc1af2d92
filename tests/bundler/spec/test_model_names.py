"""Names of models from sources, and patterns that stand for many models."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.errors import SpecError
from bundler.spec.bundle_spec import read_spec
from bundler.spec.model_names import is_pattern, matching


def spec_file(folder: Path, text: str) -> Path:
    path = folder / "bundle.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    for name in ("b.onnx", "a.onnx", "old/c.onnx", "a.txt", "na me.onnx"):
        path = tmp_path / "exports" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_a_pattern_becomes_a_model_for_each_file(exports: Path) -> None:
    pattern = "  - source: exports/*.onnx\n    tolerance: 0.5\n"
    text = f"models:\n  - {{name: first, source: x.onnx}}\n{pattern}  - {{name: last, source: y.onnx}}\n"
    spec = read_spec(spec_file(exports, text))
    rows = [(model.name, model.source) for model in spec.models]
    assert rows == [("first", "x.onnx"), ("a", "exports/a.onnx"), ("b", "exports/b.onnx"), ("na-me", "exports/na me.onnx"),
                    ("last", "y.onnx")]  # fmt: skip
    assert [model.tolerance for model in spec.models] == [None, 0.5, 0.5, 0.5, None]
    assert spec.place(("models", 2, "source")) == f"{exports}/bundle.yaml, line 3, column 13"
    assert spec.place(("models", 4, "source")) == f"{exports}/bundle.yaml, line 5, column 26"


def test_a_star_in_the_name_stands_for_the_file(exports: Path) -> None:
    spec = read_spec(spec_file(exports, 'models: [{name: "v2-*", source: "exports/**/?.onnx"}]'))
    assert [model.name for model in spec.models] == ["v2-a", "v2-b", "v2-c"]


def test_functions_and_whole_paths_can_be_patterns(exports: Path) -> None:
    (exports / "net.py").touch()
    spec = read_spec(spec_file(exports, f"models: [{{source: 'n*.py:make'}}, {{source: '{exports}/exports/[b].onnx'}}]"))
    assert [model.source for model in spec.models] == ["net.py:make", f"{exports}/exports/b.onnx"]


def test_a_pattern_that_matches_nothing_is_an_error(exports: Path) -> None:
    with pytest.raises(SpecError, match=r"source: exports/\*\.pt2 matches no file") as raised:
        read_spec(spec_file(exports, "models: [{source: 'exports/*.pt2'}]"))
    assert raised.value.code == "TFB5206"


def test_files_of_one_name_in_two_folders_are_an_error(exports: Path) -> None:
    (exports / "exports" / "old" / "a.onnx").touch()
    with pytest.raises(SpecError, match="two models have the name 'a'"):
        read_spec(spec_file(exports, "models: [{source: 'exports/**/*.onnx'}]"))


def test_a_file_whose_name_has_brackets_is_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "net[1].onnx").touch()
    assert not is_pattern("net[1].onnx", tmp_path) and is_pattern("net[2].onnx", tmp_path)
    assert matching("net*.onnx", tmp_path) == ["net[1].onnx"]

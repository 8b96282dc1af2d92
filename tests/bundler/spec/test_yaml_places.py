"""Errors in a bundle.yaml name the line and the column, with the words of the command's own errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.errors import SpecError
from bundler.spec.bundle_spec import read_spec
from bundler.spec.request import make_request
from bundler.spec.yaml_places import Places

FILE = """\
models:
  - name: a
    source: a.onnx
    tflite: {variants: [float16, int7]}
    convertr: native
  - name: b
    source: b.onnx
    tolerance: -1
servng: {}
"""


def refusal(tmp_path: Path, text: str) -> SpecError:
    file = tmp_path / "bundle.yaml"
    file.write_text(text)
    with pytest.raises(SpecError) as caught:
        read_spec(file)
    return caught.value


def test_all_errors_of_all_models_are_listed_with_line_and_column_in_the_files_order(tmp_path: Path) -> None:
    lines = refusal(tmp_path, FILE).what.splitlines()
    assert lines[0] == f"4 problems in {tmp_path / 'bundle.yaml'}:"
    assert [line.partition(": ")[0] for line in lines[1:]] == [
        "line 4, column 34", "line 5, column 5", "line 8, column 16", "line 9, column 1"
    ]  # fmt: skip
    assert lines[2].endswith("unknown key 'convertr'; did you mean 'converter'?")
    assert lines[4].endswith("unknown key 'servng'; did you mean 'serving'?")


def test_a_single_error_names_its_place_where_errors_do(tmp_path: Path) -> None:
    error = refusal(tmp_path, "models:\n  - name: a\n    source: a.onnx\n    tolerance: -1\n")
    assert error.where == f"{tmp_path / 'bundle.yaml'}, line 4, column 16, models.0.tolerance"


def test_the_words_are_those_of_the_commands_own_errors(tmp_path: Path) -> None:
    error = refusal(tmp_path, "models:\n  - name: a\n    source: a.onnx\n    tolerance: -1\n")
    with pytest.raises(SpecError) as caught:
        make_request("a.onnx", None, {"tolerance": -1})
    assert caught.value.what == error.what


def test_a_missing_key_has_the_place_of_its_section(tmp_path: Path) -> None:
    assert "line 2, column 5" in str(refusal(tmp_path, "models:\n  - name: a\n").where)


def test_invalid_yaml_names_line_and_column_and_says_what_to_do(tmp_path: Path) -> None:
    error = refusal(tmp_path, "models:\n  - source: timm: x\n")
    assert str(error.where).endswith("line 2, column 17")
    assert "single quotes" in str(error.fix)


def test_places_of_keys_and_values() -> None:
    places = Places(FILE, Path("f"))
    assert places.of_key(("models", 1, "tolerance")).text == "line 8, column 5"
    assert places.of_value(("models", 1, "tolerance")).text == "line 8, column 16"
    assert places.of_value(("models", 7, "x")).text == "line 2, column 3"
    assert str(Places("", Path("f")).of_value(("models",))) == "f, line 1, column 1"

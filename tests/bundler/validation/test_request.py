"""All mistakes of all models that need no build are found before the first one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.errors import SourceError, UsageError
from bundler.spec.bundle_spec import read_spec
from bundler.validation.request import check_models
from tests.bundler.cli.commands import run

FILE = """\
models:
  - name: a
    source: nope.py:make
    tflite:
      variants: [int8]
      calibration: missing.npz
  - name: b
    source: nope.onnx
    labels: labels.txt
  - name: c
    source: model.py:maek
    converter: nativ
"""


def spec_file(folder: Path, text: str) -> Path:
    (folder / "model.py").write_text("def make(): ...\n")
    file = folder / "bundle.yaml"
    file.write_text(text)
    return file


def test_one_run_lists_the_mistakes_of_all_models_with_their_places(tmp_path: Path) -> None:
    file = spec_file(tmp_path, FILE)
    with pytest.raises(UsageError) as caught:
        check_models(read_spec(file), tmp_path)
    lines = [line.strip() for line in caught.value.what.splitlines() if line.startswith("    bundle") or str(file) in line]
    assert caught.value.what.startswith("6 problems before the first build:\n")
    assert [line.removeprefix(f"{file}, ").split(": ")[0] for line in lines] == [
        "line 3, column 13, a", "line 6, column 20, a", "line 8, column 13, b", "line 9, column 13, b",
        "line 11, column 13, c", "line 12, column 16, c",
    ]  # fmt: skip
    assert "to do: did you mean 'make'?" in caught.value.what


def test_the_command_shows_them_before_it_makes_a_folder(tmp_path: Path) -> None:
    result = run("build", spec_file(tmp_path, FILE), "-o", tmp_path / "out", code=2)
    assert result.stderr.startswith("error TFB1103: 6 problems before the first build:")
    assert not (tmp_path / "out").exists()


def test_a_single_mistake_is_raised_as_it_is(tmp_path: Path) -> None:
    file = spec_file(tmp_path, "models:\n  - name: a\n    source: model.py:make\n  - {name: b, source: nope.onnx}\n")
    with pytest.raises(SourceError) as caught:
        check_models(read_spec(file), tmp_path)
    assert caught.value.what == "The file nope.onnx does not exist."
    assert caught.value.where == f"{file}, line 4, column 23, model 'b', {tmp_path / 'nope.onnx'}"


def test_the_source_of_a_model_in_memory_is_not_read(tmp_path: Path) -> None:
    spec = read_spec(spec_file(tmp_path, "models: [{name: a, source: 'python:Net'}]\n"))
    assert set(check_models(spec, tmp_path, loaded={"a"})) == {"a"}

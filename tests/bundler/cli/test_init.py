"""tfbundle init: the files that it writes, and its questions on a terminal."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML
from typer.testing import CliRunner

from bundler.cli.app import app
from bundler.cli.init import _complete_variants, init
from tests.bundler.cli.commands import run


class Terminal:
    def isatty(self) -> bool:
        return True


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Answers by the beginning of the question; questions that were asked are removed."""
    answers = {
        "Model": "nets/digits.py:make",
        "Name": "seven",
        "TFLite": "float16,int8",
        "Calibration": "samples.npz",
    }

    def prompt(text: str, default: str | None = None, **_: Any) -> str:
        return answers.pop(text.split()[0])

    monkeypatch.setattr(typer, "prompt", prompt)
    return answers


def test_answers_fill_the_file(questions: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    path = tmp_path / "bundle.yaml"
    answers = dict.fromkeys(("source", "name", "tflite", "calibration"))
    init(output=path, input=["x=float32[batch,4]"], yes=False, force=False, schema=False, **answers)
    (model,) = YAML(typ="safe").load(path.read_text())["models"]
    assert (model["name"], model["source"], model["inputs"]) == ("seven", "nets/digits.py:make", ["x=float32[batch,4]"])
    assert model["tflite"] == {"variants": ["float16", "int8"], "calibration": "samples.npz"}
    assert questions == {}


def test_nothing_is_asked_without_a_terminal(questions: dict[str, str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["init", "-o", str(tmp_path / "bundle.yaml"), "--source", "net.onnx"])
    assert result.exit_code == 0, result.output
    assert len(questions) == 4
    assert "name: net " in (tmp_path / "bundle.yaml").read_text()


def test_variants_are_completed() -> None:
    assert "float16,int8" in _complete_variants("float16,")


def test_init_writes_what_build_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlp_onnx: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(mlp_onnx, tmp_path / "net.onnx")
    run("init", "--yes", "--source", "net.onnx", "--tflite", "float16")
    text = (tmp_path / "bundle.yaml").read_text()
    assert "# yaml-language-server: $schema=./bundle.schema.json" in text
    assert json.loads((tmp_path / "bundle.schema.json").read_text())["additionalProperties"] is False
    assert "already exists" in run("init", "--yes", code=2).stderr
    run("build", "bundle.yaml")
    assert list((tmp_path / "dist" / "net" / "tflite" / "net" / "1").iterdir())
    run("init", "--yes", "--force", "-o", "bundle.yaml")
    assert "model.py:make_model" in (tmp_path / "bundle.yaml").read_text()


def test_init_with_wrong_answers_writes_nothing(tmp_path: Path) -> None:
    assert "int2" in run("init", "--yes", "--tflite", "int2", "-o", tmp_path / "b.yaml", code=2).stderr
    assert list(tmp_path.iterdir()) == []
    schema = json.loads(run("init", "--schema").stdout)
    assert "models" in schema["properties"]

"""tfbundle init on a terminal: it asks for what is missing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML
from typer.testing import CliRunner

from bundler.cli.app import app
from bundler.cli.init import _complete_variants, init


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

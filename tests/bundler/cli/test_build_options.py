"""The generated options of `tfbundle build`: help, shell completion, and which of them count as given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bundler.cli.app import app
from bundler.cli.build_options import complete_list, option_parameters, with_bare_values
from bundler.spec.bundle_spec import MODEL_PANEL, TFLITE_PANEL


def completions(*words: str) -> list[str]:
    """What bash offers for the last word of `tfbundle build net.onnx …`."""
    line = ["tfbundle", "build", "net.onnx", *words]
    done = subprocess.run(
        [sys.executable, "-m", "bundler"],
        env={
            **os.environ,
            "_TFBUNDLE_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(line),
            "COMP_CWORD": str(len(line) - 1),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["--layout", "n"], ["nhwc"]),
        (["--converter", "o"], ["onnx-tf"]),
        (["--io-type", "u"], ["uint8"]),
        (["--tflite", "float16,int8"], ["float16,int8", "float16,int8-full", "float16,int8-io"]),
        (["--allow"], ["--allow-random-calibration"]),
        (["--fast-path", "i"], ["int8"]),
    ],
)
def test_the_shell_completes_choices_and_flags(words: list[str], offered: list[str]) -> None:
    assert completions(*words) == offered


def test_a_flag_that_may_stand_alone_takes_the_plain_word_behind_it() -> None:
    for arguments, expected in (
        ("", ""),
        ("net.py:make --fast-path", "net.py:make --fast-path=float32"),
        ("--fast-path net.py:make -o x", "--fast-path=float32 net.py:make -o x"),
        ("--fast-path --json net.onnx", "--fast-path=float32 --json net.onnx"),
        ("net.onnx --fast-path int8", "net.onnx --fast-path int8"),
        ("net.onnx --fast-path=float16", "net.onnx --fast-path=float16"),
    ):
        assert list(with_bare_values(arguments.split())) == expected.split()


def test_parts_of_a_list_are_offered_once() -> None:
    assert complete_list(("a", "b"), "") == ["a", "b"]
    assert complete_list(("a", "b", "c"), "b,") == ["b,a", "b,c"]


def test_parameters_are_keywords_with_the_defaults_of_the_models() -> None:
    defaults = {parameter.name: parameter.default for parameter in option_parameters()}
    assert defaults["layout"] is None
    assert defaults["tolerance"] is None
    assert defaults["pretrained"] is True
    assert defaults["inputs"] is None


def test_the_help_shows_choices_bounds_defaults_and_brackets() -> None:
    text = " ".join(CliRunner().invoke(app, ["build", "--help"], env={"COLUMNS": "250"}).output.split())
    shown = ("<keep|nhwc>", "[x>=7]", "[0<x<=1]", "[default: native]", "x=float32[batch,3,224,224]")
    for words in (MODEL_PANEL, TFLITE_PANEL, *shown):
        assert words in text


def test_only_flags_on_the_command_line_count_as_given(tmp_path: Path) -> None:
    """A flag with its default is given, too: it is an error beside a bundle.yaml."""
    file = tmp_path / "bundle.yaml"
    file.write_text("models: []\n")
    result = CliRunner().invoke(app, ["build", str(file)])
    assert "no model to build" in result.stderr
    result = CliRunner().invoke(app, ["build", str(file), "--layout", "keep", "--pretrained"])
    assert result.exit_code == 2
    assert "Options of a model are not allowed with a bundle.yaml: layout, pretrained." in result.stderr

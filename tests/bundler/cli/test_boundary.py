"""Errors become one message and an exit code, wherever they come from."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bundler.cli.app import app as tfbundle
from bundler.cli.boundary import Boundary, cleanly_interrupted
from bundler.errors import ParityError, PublishError, SpecError
from serving.errors import ConnectionFailedError, TargetError


def app_raising(error: BaseException) -> typer.Typer:
    app = typer.Typer(cls=Boundary, pretty_exceptions_enable=False)

    @app.callback()
    def common(debug: bool = False) -> None: ...

    @app.command()
    def fail() -> None:
        raise error

    return app


@pytest.fixture(autouse=True)
def _no_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFBUNDLE_DEBUG", "")


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (PublishError("The disk is full.", where="dist/x", fix="free some", code="TFB5002"), "TFB5002", 1),
        (SpecError("Unknown key.", where="dist/x", fix="free some", code="TFB1103"), "TFB1103", 2),
        (ParityError("Not the answers.", where="dist/x", fix="free some"), "TFB3401", 3),
        (ConnectionFailedError("Nobody answers.", where="dist/x", fix="free some"), "TFB7002", 1),
        (TargetError("No port.", where="dist/x", fix="free some", code="TFB7001"), "TFB7001", 2),
    ],
)
def test_errors_print_their_code_what_happened_where_and_what_to_do(error: Exception, code: str, exit_code: int) -> None:
    result = CliRunner().invoke(app_raising(error), ["fail"])
    assert result.exit_code == exit_code
    assert result.stderr == f"error {code}: {error.args[0]}\n  where: dist/x\n  to do: free some\n"
    assert result.stdout == ""


def test_a_terminal_shows_the_command_that_explains_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bundler.cli.output.explains", lambda: True)
    result = CliRunner().invoke(app_raising(ParityError("Not the answers.")), ["fail"])
    assert result.stderr == "error TFB3401: Not the answers.\n  more: tfbundle explain TFB3401\n"


def test_an_unexpected_error_is_one_line_and_a_hint() -> None:
    result = CliRunner().invoke(app_raising(ZeroDivisionError("division by zero\nmore")), ["fail"])
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error TFB8901: Unexpected ZeroDivisionError: division by zero",
        "  to do: run with --debug for the traceback",
    ]


@pytest.mark.parametrize("arguments", [["--debug", "fail"], ["fail", "--debug"]])
def test_debug_shows_the_traceback_at_any_position(arguments: list[str]) -> None:
    result = CliRunner().invoke(app_raising(PublishError("no")), arguments)
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert "error: no" in result.stderr


def test_ctrl_c_prints_one_line_and_exits_with_130() -> None:
    result = CliRunner().invoke(app_raising(KeyboardInterrupt()), ["fail"])
    assert (result.exit_code, result.stderr) == (130, "error: Interrupted.\n")


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Terminated")]
)
def test_a_signal_reports_its_consequence_for_the_files(number: signal.Signals, code: int, word: str) -> None:
    app = typer.Typer(cls=Boundary)

    @app.callback()
    def common() -> None: ...

    @app.command()
    def wait() -> None:
        with cleanly_interrupted("nothing was published."):
            os.kill(os.getpid(), number)
            signal.pause()

    before = signal.getsignal(signal.SIGTERM)
    result = CliRunner().invoke(app, ["wait"])
    assert (result.exit_code, result.stderr) == (code, f"error: {word}: nothing was published.\n")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("build", "nope.onnx", "--json"), 1),
        (("build", "nope.onnx", "--json", "--tolerance", "x"), 2),
        (("build", "nope.onnx", "--dry-run", "--json"), 1),
        (("verify", "nowhere", "--json"), 1),
        (("inspect", "nowhere", "--json"), 2),
        (("promote", "nowhere", "--json"), 1),
        (("render", "nowhere", "--json"), 1),
        (("smoke", "localhost:1", "--json"), 2),
        (("bench", "--json"), 2),
        (("ops", "--json", "--markdown"), 2),
        (("export-mobile", "nowhere", "-o", "x", "--json"), 1),
        (("doctor", "--json", "--nothing"), 2),
        (("build", "--json"), 2),
    ],
)
def test_json_prints_one_object_on_failure_too(
    arguments: tuple[str, ...], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object has the error, where it is, what to do and the exit code; people read the same on stderr."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(tfbundle, list(arguments))
    assert result.exit_code == code, result.output
    failure = json.loads(result.stdout)
    assert list(failure) == ["error", "code", "where", "fix", "exit_code"]
    assert failure["exit_code"] == code
    assert failure["error"].splitlines()[0] in result.stderr
    assert "╭" not in result.stderr


def test_a_wrong_option_before_the_command_is_an_error_like_any_other() -> None:
    result = CliRunner().invoke(tfbundle, ["--nope"], prog_name="tfbundle")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == ["error TFB1007: No such option: --nope", "  to do: see `tfbundle --help`"]


def test_without_arguments_the_help_is_printed() -> None:
    result = CliRunner().invoke(tfbundle, [])
    assert result.exit_code == 2
    assert result.stdout == CliRunner().invoke(tfbundle, ["--help"]).stdout

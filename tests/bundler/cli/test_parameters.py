"""Commands whose parameters are the fields of a dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from bundler.cli.parameters import takes


@dataclass(frozen=True)
class Options:
    word: Annotated[str, typer.Argument(help="A word.")]
    times: Annotated[int, typer.Option("--times", min=1, help="How often.")] = 1
    names: Annotated[list[str] | None, typer.Option("--name")] = None


@takes(Options)
def repeat(options: Options) -> None:
    """Say a word."""
    typer.echo(f"{options.word * options.times} {options.names}")


def run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(repeat)
    return CliRunner().invoke(app, list(arguments)).output


def test_fields_become_arguments_and_options() -> None:
    assert run("ab") == "ab None\n"
    assert run("ab", "--times", "2", "--name", "x", "--name", "y") == "abab ['x', 'y']\n"


def test_help_and_errors_are_typers() -> None:
    assert "Say a word." in run("--help") and "How often." in run("--help")
    assert "0 is not in the range x>=1" in run("ab", "--times", "0") or "greater than or equal to 1" in run("ab", "--times", "0")
    assert "Missing argument" in run()

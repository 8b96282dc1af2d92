"""A command whose parameters are made when they are needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer
from typer.testing import CliRunner

from bundler.cli.lazy import LazyCommand

made: list[str] = []


class Later(LazyCommand):
    def make_function(self) -> Callable[..., None]:
        def later(word: Annotated[str, typer.Option(help="A word.")] = "nothing") -> None:
            typer.echo(f"word: {word}")

        made.append("later")
        return later


def placeholder() -> None:
    """Say a word."""


def application() -> typer.Typer:
    app = typer.Typer()
    app.command("later", cls=Later)(placeholder)
    app.command("other")(placeholder)
    return app


def test_listing_the_commands_makes_no_parameters() -> None:
    made.clear()
    assert "Say a word." in CliRunner().invoke(application(), ["--help"]).output
    assert made == []


def test_the_command_has_the_parameters_of_its_function() -> None:
    made.clear()
    assert "A word." in CliRunner().invoke(application(), ["later", "--help"]).output
    assert CliRunner().invoke(application(), ["later", "--word", "x"]).output == "word: x\n"
    assert CliRunner().invoke(application(), ["later"]).output == "word: nothing\n"
    assert len(made) == 3

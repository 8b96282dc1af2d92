"""Help is readable everywhere: nothing is cut, no escape codes in pipes, no boxes where they would break."""

from __future__ import annotations

import io
import re

import pytest
from typer.main import get_command

from bundler.cli import help as plain
from bundler.cli.app import app
from bundler.cli.output import console
from tests.bundler.cli.commands import run

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.sample(3)
@pytest.mark.parametrize("width", [40, 60, 100])
def test_no_word_is_cut_or_broken_at_any_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    wide = {command: " ".join(run(*command, "--help").stdout.split()) for command in [(), *((c,) for c in COMMANDS)]}
    monkeypatch.setenv("COLUMNS", str(width))
    for command, text in wide.items():
        narrow = run(*command, "--help").stdout
        assert " ".join(narrow.split()) == text
        longest = max(map(len, re.findall(r"\S+", text)))
        assert max(map(len, narrow.splitlines())) <= max(width, longest + plain._HEAD + 4)


def test_help_keeps_brackets_that_look_like_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert "'x=float32[batch,3,224,224]'" in run("init", "--help").stdout
    assert "x=float32[batch,3,224,224]" in run("build", "--help").stdout
    assert "[default: bundle.yaml]" in " ".join(run("init", "--help").stdout.split())


def test_help_in_a_pipe_has_no_boxes_and_no_escape_codes() -> None:
    for command in COMMANDS:
        assert not re.search("[\x1b╭│╰─]", run(command, "--help").stdout)


@pytest.mark.parametrize(
    ("variables", "is_plain"),
    [({"TERM": "xterm"}, False), ({"TERM": "dumb"}, True), ({"TERM": ""}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, True)],
)
def test_dumb_terminals_and_no_color_get_plain_text(
    variables: dict[str, str], is_plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    assert plain.is_plain(terminal) is is_plain
    monkeypatch.setattr("sys.stdout", terminal)
    console().print("text", style="bold red")
    assert ("\x1b" in terminal.getvalue()) is not is_plain

"""Help for pipes, narrow and dumb terminals: plain text without boxes and escape codes, in which no word is broken or cut."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from typer.core import TyperCommand, TyperGroup

_NARROW = 90
"""Columns below which the boxes of rich would cut names of options and words of their descriptions."""
_TWO_COLUMNS = 72
_HEAD = 32
_SHORTEST = 20


def is_plain(stream: Any = None) -> bool:
    """Return whether a stream (standard output by default) takes text only: it is no terminal, or one without escape codes."""
    stream = stream or sys.stdout
    return not stream.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM", "") in ("", "dumb")


def columns() -> int:
    """Return the width of the terminal; COLUMNS overrides it."""
    return max(_SHORTEST, shutil.get_terminal_size().columns)


class _PlainHelp:
    """Writes plain help where boxes would not do."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of the command."""
        if is_plain() or columns() < _NARROW:
            formatter.write("\n".join(help_lines(self, ctx, columns())) + "\n")
        else:
            super().format_help(ctx, formatter)  # type: ignore[misc]


class HelpCommand(_PlainHelp, TyperCommand):
    """A command with plain help."""


class HelpGroup(_PlainHelp, TyperGroup):
    """A group of commands with plain help."""


def help_lines(command: Any, ctx: Any, width: int) -> Iterator[str]:
    """Yield the lines of a command's help, at most `width` wide where its words allow."""
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    yield from _wrapped(f"Usage: {usage}", width, "       ")
    for paragraph in _plain(command.help or "").split("\n\n"):
        yield ""
        yield from _wrapped(" ".join(paragraph.split()), width)
    for title, rows in _panels(command, ctx).items():
        yield ""
        yield f"{title}:"
        for head, text in rows:
            yield from _row(head, text, width)


def _panels(command: Any, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    """Return names and descriptions of the parameters and commands, by the title of their group."""
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is None or getattr(parameter, "hidden", False):
            continue
        is_argument = parameter.param_type_name == "argument"
        title = getattr(parameter, "rich_help_panel", None) or ("Arguments" if is_argument else "Options")
        panels.setdefault(title, []).append((_long_first(record[0]), _description(parameter, record[1])))
    for name in command.list_commands(ctx) if hasattr(command, "list_commands") else ():
        child = command.get_command(ctx, name)
        if child is not None and not child.hidden:
            panels.setdefault("Commands", []).append((name, _plain(child.get_short_help_str(limit=200))))
    return panels


def _description(parameter: Any, text: str) -> str:
    """Return a parameter's help without markup, and behind it what click appends in brackets: default, range, required."""
    written = parameter.help or ""
    return _plain(written) + text.removeprefix(written)


def _long_first(head: str) -> str:
    """Return `--output-dir, -o <path>` for `-o, --output-dir <path>`."""
    short, comma, rest = head.partition(", ")
    if not comma or len(short) != 2 or not rest.startswith("--"):
        return head
    name, space, metavar = rest.partition(" ")
    return f"{name}, {short}{space}{metavar}"


def _row(head: str, text: str, width: int) -> Iterator[str]:
    text = " ".join(text.split())
    if width < _TWO_COLUMNS:
        yield f"  {head}"
        yield from _wrapped(f"      {text}", width, "      ")
    elif len(head) > _HEAD:
        yield from _wrapped(f"  {head}  {text}", width, " " * (_HEAD + 4))
    else:
        yield from _wrapped(f"  {head:<{_HEAD}}  {text}", width, " " * (_HEAD + 4))


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Wrap a text between its words; a word that is longer than a line stays whole."""
    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )


def _plain(text: str) -> str:
    """Return a text without rich's markup, which help texts escape brackets for."""
    from rich.markup import render

    return render(text).plain

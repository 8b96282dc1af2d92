"""Output of the commands: results go to stdout, everything else to stderr; only terminals get colors.

Texts quote names that strangers chose: of models, tensors, files. Every function here writes characters that could act on a
terminal as escapes, and rich reads neither markup nor emoji codes in a text. JSON stays JSON.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from bundler.cli.help import is_plain
from serving.texts import json_text, printable, shell_command

if TYPE_CHECKING:
    from rich.console import Console


def console(*, stderr: bool = False) -> Console:
    """Return a console that never wraps lines, so that scripts can read them."""
    from rich.console import Console

    colors: Literal["auto"] | None = None if is_plain(sys.stderr if stderr else sys.stdout) else "auto"
    return Console(stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False, color_system=colors)


def say(text: str = "", *, style: str | None = None) -> None:
    """Print one line of a result to stdout."""
    console().print(printable(text), style=style)


def note(text: str) -> None:
    """Print one line about a result to stderr."""
    console(stderr=True).print(printable(text), style="yellow")


def say_next(*commands: Sequence[object], column: int = 0) -> None:
    """Print the commands that a user may run next, ready to paste.

    Args:
        commands: the words of each command.
        column: width of the heading `Next:`, for alignment with the lines above it.
    """
    say(f"{'Next:':<{column}} " + "   |   ".join(shell_command(*words) for words in commands))


def opener() -> str:
    """Return the command that opens a file with the desktop's program for it."""
    return "open" if sys.platform == "darwin" else "xdg-open"


def echo(text: str) -> None:
    """Print lines that another program made, such as a server's log, to stderr."""
    sys.stderr.write(f"{printable(text, lines=True)}\n")
    sys.stderr.flush()


def print_error(what: str, *, where: str | None = None, fix: str | None = None, code: str = "") -> None:
    """Print an error to stderr: its code, what happened, where, and what to do."""
    from rich.text import Text

    err = console(stderr=True)
    err.print(Text.assemble((f"error {code}: " if code else "error: ", "bold red"), _indented(what)))
    if where:
        err.print(Text.assemble(("  where: ", "bold"), _indented(where)))
    if fix:
        err.print(Text.assemble(("  to do: ", "bold"), _indented(fix)))


def _indented(text: str) -> str:
    """Return a text whose further lines are indented, so that a line feed in a name cannot forge a line of its own."""
    first, *others = printable(text, lines=True).split("\n")
    return "\n".join([first, *(line if line.startswith("    ") else f"    {line}" for line in others)])


_json = {"wanted": False, "printed": False}
"""Whether the command line has --json, and whether the command has printed its object."""


def reset_json(*, wanted: bool) -> None:
    """Begin a command; `wanted` says whether its result is to be JSON."""
    _json.update(wanted=wanted, printed=False)


def explains() -> bool:
    """Return whether an error is followed by the command that explains its code: only if a person reads it."""
    return sys.stderr.isatty()


def print_failure(
    what: str, exit_code: int, *, where: str | None = None, fix: str | None = None, code: str = ""
) -> int:
    """Print an error to stderr, and with --json as the one object on stdout too, unless the command has printed its result.

    Returns:
        The exit code.
    """
    print_error(what, where=where, fix=fix, code=code)
    if code and explains():
        echo(f"  more: tfbundle explain {code}")
    if _json["wanted"] and not _json["printed"]:
        print_json({"error": what, "code": code or None, "where": where, "fix": fix, "exit_code": exit_code})
    return exit_code


def print_json(data: Any) -> None:
    """Print JSON to stdout for scripts, without colors or wrapping."""
    _json["printed"] = True
    sys.stdout.write(json_text(data, indent=2) + "\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table. Columns in which every cell begins with a digit are right-aligned."""
    from rich import box
    from rich.table import Table

    columns, *rows = [[printable(cell) for cell in row] for row in (columns, *rows)]
    out = Table(box=None if is_plain() else box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        figures = bool(rows) and all(row[number][:1].isdigit() or not row[number] for row in rows)
        out.add_column(column, justify="right" if figures else "left", no_wrap=True)
    for row in rows:
        out.add_row(*row)
    view = console()
    longest = [max(len(text) for text in cells) for cells in zip(columns, *rows, strict=True)]
    view.width = max(view.width, sum(longest) + 4 * len(columns))  # so that no cell is cut off
    view.print(out)


def size(count: float) -> str:
    """Return a number of bytes as text for people: `1.2 MB`."""
    from bundler.render.texts import decimal_size_text

    return decimal_size_text(count)


def quiet_libraries() -> None:
    """Keep the messages that TensorFlow, torch and other libraries log at start off the terminal, except in debug mode."""
    from bundler.cli.debug import debugging
    from serving.imports import import_inside, leave_keras_out

    leave_keras_out()
    if debugging():
        return
    import_inside("tensorflow", _quiet_tensorflow)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    warnings.filterwarnings("ignore")


@contextmanager
def _quiet_tensorflow() -> Iterator[None]:
    """Keep off the terminal what absl logs during TensorFlow's import, and later its warnings, which quote names as they are."""
    from serving.stderr import captured_stderr

    with captured_stderr():
        yield
    logging.getLogger("absl").setLevel(logging.ERROR)

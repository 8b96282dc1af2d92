"""tfbundle explain."""

from __future__ import annotations

import re
import sys
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli.output import print_json, say

if TYPE_CHECKING:
    from serving.error_codes import ErrorPage


def explain(
    code: Annotated[
        str | None, typer.Argument(metavar="[CODE]", help="The code of an error, such as TFB1204.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the explanation, or the list, as JSON.")] = False,
) -> None:
    """Explain the code of an error: its cause, an example, and the way out. Without a code, list all codes."""
    from serving.error_codes import pages

    if code is not None:
        page = _page(code)
        if as_json:
            print_json(page.to_json())
        else:
            _show(page)
    elif as_json:
        print_json([page.to_json() for page in pages().values()])
    else:
        for number, (area, group) in enumerate(groupby(pages().values(), key=lambda page: page.area)):
            say(("\n" if number else "") + area, style="bold")
            for page in group:
                say(f"  {page.code}  {page.title}")


def _page(text: str) -> ErrorPage:
    import difflib

    from bundler.errors import UsageError
    from serving.error_codes import normalized, pages

    code, known = normalized(text), pages()
    if code in known:
        return known[code]
    similar = difflib.get_close_matches(code, known, n=3)
    raise UsageError(
        f"There is no error code {text!r}.",
        fix=(f"did you mean {' or '.join(similar)}? " if similar else "") + "`tfbundle explain` lists all codes",
        code="TFB1002",
    )


def _show(page: ErrorPage) -> None:
    """Print a page: formatted on a terminal, as Markdown to a file or pipe."""
    if not sys.stdout.isatty():
        typer.echo(page.markdown(), nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    # A relative link leads nowhere on a terminal: `[security](../security.md)` becomes `security (docs/security.md)`.
    Console().print(Markdown(re.sub(r"\[([^]]+)\]\(\.\./(\S+?)\)", r"\1 (docs/\2)", page.markdown())))

"""tfbundle ops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli.output import print_json, say, table

if TYPE_CHECKING:
    from bundler.operations.op_coverage import Coverage


def ops(
    name: Annotated[
        str | None, typer.Argument(help="Only operators whose name contains this text or matches this pattern ('*Pool').")
    ] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Only operators that cannot be converted.")] = False,
    files: Annotated[
        list[str] | None,
        typer.Option("--ops", help="Python file with your own handlers for operators. Can be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print docs/operators.md, without handlers of installed packages.")
    ] = False,
) -> None:
    """List ONNX's operators and the handlers that convert them."""
    from bundler.errors import UsageError
    from bundler.operations.op_coverage import coverage, markdown, matching, summary

    if as_json and as_markdown:
        raise UsageError("--json and --markdown cannot be combined.", fix="choose one of them", code="TFB1001")
    if as_markdown and (name or missing):
        raise UsageError(
            "--markdown always prints the whole table.", fix="omit NAME and --missing, or use --json", code="TFB1001"
        )
    rows: Sequence[Coverage] = coverage(files or (), packages=not as_markdown)
    if as_markdown:
        typer.echo(markdown(rows), nl=False)
        return
    if name:
        rows = matching(rows, name)
    if missing:
        rows = [row for row in rows if row.status == "missing"]
    if as_json:
        print_json([row.to_json() for row in rows])
        return
    _show(rows)
    if not name and not missing:
        for domain, (converted, total) in summary(rows).items():
            say(f"{domain}: {converted} converted" if total is None else f"{domain}: {converted} of {total} converted")


def _show(rows: Sequence[Coverage]) -> None:
    if rows:
        cells = [
            (row.domain, row.name, _text(row.newest), row.handler or row.status, _text(row.since), _layout(row))
            for row in rows
        ]
        table(("domain", "operator", "opset", "handler", "since", "layout"), cells)
    else:
        say("None: all of these operators are converted.")


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _layout(row: Coverage) -> str:
    return row.layout.lower() if row.layout else ""

"""tfbundle smoke"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bundler.cli.output import print_error, print_json, say


def smoke(
    target: Annotated[
        str,
        typer.Argument(
            metavar="HOST:PORT", help="gRPC port of the server, or an http:// URL for REST alone."
        ),
    ],
    bundle: Annotated[Path, typer.Option(help="The bundle that is served.")],
    rest: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Its REST port, to test both.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds to wait for the models to be available.")
    ] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Replay a bundle's golden inputs against a running server and compare its answers with PyTorch's."""
    from bundler.bundle import Bundle
    from bundler.golden_files import served_golden_files
    from serving.smoke import Check, run

    def show(check: Check) -> None:
        if check.outcome == "failed":
            print_error(str(check))
        else:
            say(str(check))

    files = served_golden_files(Bundle.open(bundle))
    report = run(target, files, rest=rest, timeout=timeout, progress=None if as_json else show)
    if as_json:
        print_json(report.to_json())
    else:
        say(report.verdict(), style="bold green" if report.passed else "bold red")
    if not report.passed:
        raise typer.Exit(1)

"""tfbundle smoke."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli.connection import ConnectionOptions
from bundler.cli.output import print_error, print_json, say
from bundler.cli.parameters import takes
from bundler.cli.remote import folder_of

if TYPE_CHECKING:
    from serving.smoke.run import GoldenFile


@dataclass(frozen=True)
class SmokeOptions(ConnectionOptions):
    """The command's parameters."""

    target: Annotated[
        str,
        typer.Argument(metavar="HOST:PORT", help="gRPC port of the server, or an http:// URL to test only REST."),
    ]
    bundle: Annotated[str | None, typer.Option(metavar="DIR", help="Bundle that is served.", show_default=False)] = None
    replay: Annotated[
        Path | None, typer.Option(metavar="FILE|DIR", help="Logged requests (--log_requests) to send instead of golden data.")
    ] = None
    rest: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="REST port of the server, to test both.")
    ] = None
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds to wait until the models are available.")
    ] = 60.0
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False


@takes(SmokeOptions)
def smoke(options: SmokeOptions) -> None:
    """Replay a bundle's golden inputs against a running server and compare its answers with PyTorch's.

    With --replay the requests in a file are sent, and the answers are compared with those logged in the file.
    """
    from bundler.errors import UsageError
    from serving.smoke.run import Check, run

    def show(check: Check) -> None:
        if check.outcome == "failed":
            print_error(str(check), code="TFB7203")
        else:
            say(str(check))

    target, timeout, connection = options.target, options.timeout, options.connection()
    progress = None if options.as_json else show
    if options.replay and not options.bundle:
        from serving.smoke.replay import replay

        report = replay(target, options.replay, timeout=timeout, connection=connection, progress=progress)
    elif options.bundle and not options.replay:
        golden = _golden(options.bundle)
        report = run(target, golden, rest=options.rest, timeout=timeout, connection=connection, progress=progress)
    else:
        fix = "e.g. tfbundle smoke localhost:8500 --bundle DIR"
        raise UsageError("Give either --bundle or --replay.", fix=fix, code="TFB1001")
    if options.as_json:
        print_json(report.to_json())
    else:
        say(report.verdict(), style="bold green" if report.passed else "bold red")
    if not report.passed:
        raise typer.Exit(1)


def _golden(bundle: str) -> list[GoldenFile]:
    from bundler.errors import UsageError
    from bundler.operations.smoke import served_golden_files
    from bundler.validation.bundle import Bundle

    golden = served_golden_files(Bundle.open(folder_of(bundle, "without_weights")))
    if not golden:
        raise UsageError(
            f"All versions of {bundle} that are served were adopted, so it has no golden data to send.",
            fix="send logged requests with --replay FILE",
            code="TFB7201",
        )
    return golden

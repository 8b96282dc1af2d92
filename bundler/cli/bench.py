"""tfbundle bench"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli.output import note, print_json, say, table

if TYPE_CHECKING:
    from serving.bench import Figures


def bench(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="HOST:PORT...", help="gRPC port of a server, or an http:// URL for REST; several are loaded in turns."
        ),
    ],
    bundle: Annotated[Path, typer.Option(help="The bundle that is served: its golden inputs are sent.")],
    model: Annotated[str | None, typer.Option(help="Which model; default: the bundle's only one.")] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Which version; default: the one that the server takes.")] = None,
    signature: Annotated[str, typer.Option(help="Which signature.")] = "serving_default",
    rows: Annotated[int, typer.Option("--batch", min=1, help="Examples in a request.")] = 1,
    concurrency: Annotated[str, typer.Option(help="Clients at once, with commas; a row of the table each.")] = "1,2,4,8",
    seconds: Annotated[float, typer.Option(min=0.05, help="How long each server is under each load.")] = 3.0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds after which a request has failed.")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure latency and throughput of running servers, over the number of clients.

    Each client sends its next request when the last one is answered. Several servers take turns, so that
    what disturbs the machine disturbs them all: give the SavedModel's and the fast path's to compare them.
    """
    from bundler.bench_request import bench_request
    from bundler.bundle import Bundle
    from bundler.request import parse_counts
    from serving.bench import Load, measure

    loads = [Load(clients, seconds) for clients in parse_counts(concurrency)]
    request = bench_request(Bundle.open(bundle), model, version=version, signature=signature, rows=rows)
    if not request.outputs:
        note(f"The golden data have no call of {rows} rows: answers are not compared with PyTorch's.")
    results = measure(targets, request, loads, timeout=timeout)
    if as_json:
        print_json([figures.to_json() for figures in results])
    else:
        _print(results)
    failures = [figures for figures in results if figures.failed]
    for figures in failures:
        note(f"{figures.target}, {figures.concurrency} clients: {figures.failed} requests failed: {figures.failure}")
    if failures:
        raise typer.Exit(1)


def _print(results: list[Figures]) -> None:
    first = results[0]
    say(f"{first.model}, {first.rows} row{'s' if first.rows > 1 else ''} a request", style="bold")
    columns = ("server", "clients", "requests/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "failed")
    table(columns, [_row(figures) for figures in results])


def _row(figures: Figures) -> tuple[str, ...]:
    latencies = (figures.p50_ms, figures.p90_ms, figures.p99_ms, figures.max_ms)
    return (
        figures.target,
        str(figures.concurrency),
        f"{figures.per_second:.1f}",
        *(f"{ms:.2f}" for ms in latencies),
        str(figures.failed),
    )

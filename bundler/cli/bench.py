"""tfbundle bench"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli.output import note, print_json, say, table

if TYPE_CHECKING:
    from serving.advise.search import Trial
    from serving.bench.load import LoadFigures
    from serving.client.prepared_request import PreparedRequest

_LOADS = "1,2,4,8"
_ADVISED = "64"


def bench(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[HOST:PORT]...",
            help="gRPC port of a server, or an http:// URL for REST; several are loaded in turns.",
            show_default=False,
        ),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="The bundle that is served: its golden inputs are sent.", show_default=False)
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Logged requests (--log_requests) to send in the golden data's place.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Which model; default: the bundle's only one.")] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Which version; default: the one that the server takes.")] = None,
    signature: Annotated[str, typer.Option(help="Which signature.")] = "serving_default",
    rows: Annotated[str, typer.Option("--batch", help="Examples in a request, with commas.")] = "1",
    concurrency: Annotated[
        str | None,
        typer.Option(
            help=f"Clients at once, with commas; a row of the table each. Default: {_LOADS}; {_ADVISED} with --advise.",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.05, help="How long each server is under each load.")] = 3.0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds after which a request has failed.")] = 30.0,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw latency over throughput: .svg, .png or .pdf.")
    ] = None,
    advise: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Start servers with other batching and threads, and write the flags of the best if it is better than none.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure latency and throughput of running servers, over the number of clients.

    Each client sends its next request when the last one is answered. Several servers take turns, so that
    what disturbs the machine disturbs them all: give the SavedModel's and the fast path's to compare them.
    With --advise no server is given: embedded ones are started with and without batching, in processes of
    their own, and batching.config and server.flags are written with the figures that speak for them.
    """
    from bundler.errors import UsageError
    from bundler.operations.bench import bench_request
    from bundler.spec.request import parse_counts
    from bundler.validation.bundle import Bundle

    if bool(targets) == bool(advise):
        raise UsageError(
            "Give the servers to measure, or --advise DIR.",
            fix="e.g. tfbundle bench localhost:8500 --bundle DIR, or tfbundle bench --bundle DIR --advise tuned",
        )
    if concurrency is None:
        concurrency = _ADVISED if advise else _LOADS
    clients = parse_counts(concurrency)
    if bool(bundle) == bool(replay) or (advise and not bundle):
        raise UsageError("Give either --bundle or --replay; --advise takes --bundle.", fix="e.g. --bundle dist/digits")
    requests: list[PreparedRequest | list[PreparedRequest]] = []
    if bundle:
        opened = Bundle.open(bundle)
        sizes = parse_counts(rows)
        requests += [bench_request(opened, model, version=version, signature=signature, rows=number) for number in sizes]
    if replay:
        from serving.smoke.replay import read_requests

        logged = read_requests(replay)
        requests.append(list(logged.requests))
        for kind, count in sorted(logged.left_out.items()):
            note(f"{count} records of {kind} in {replay} are left out: no request of this kind is sent again.")
    if advise and bundle:
        first = requests[0]
        assert not isinstance(first, list)
        _advise(bundle, first, max(clients), seconds, advise, as_json=as_json)
        return
    results = _measure(targets or [], requests, clients, seconds, timeout)
    if as_json:
        print_json([figures.to_json() for figures in results])
    else:
        _print(results)
    if plot:
        from serving.bench.plot import draw

        draw(results, plot)
        note(f"The curve is in {plot}.")
    _fail_if_any_failed(results)


def _measure(
    targets: list[str],
    requests: list[PreparedRequest | list[PreparedRequest]],
    clients: tuple[int, ...],
    seconds: float,
    timeout: float,
) -> list[LoadFigures]:
    from serving.bench.load import Load, measure

    results = []
    for request in requests:
        if not isinstance(request, list) and not request.outputs:
            note(f"The golden data have no call of {request.rows} rows: answers are not compared with PyTorch's.")
        results += measure(targets, request, [Load(number, seconds) for number in clients], timeout=timeout)
    return results


def _fail_if_any_failed(results: list[LoadFigures]) -> None:
    failures = [figures for figures in results if figures.failed]
    for figures in failures:
        note(f"{figures.target}, {figures.concurrency} clients: {figures.failed} requests failed: {figures.failure}")
    if failures:
        raise typer.Exit(1)


def _advise(bundle: Path, request: PreparedRequest, clients: int, seconds: float, folder: Path, *, as_json: bool) -> None:
    from serving.advise.files import verdict, write_advice
    from serving.advise.search import advise

    def show(trial: Trial) -> None:
        figures = trial.figures
        if figures.failed:
            note(f"      {figures.failed} requests failed ({figures.failure}): {trial.setting}")
            return
        note(f"{trial.gain:5.2f}  {figures.per_second:9.1f} requests/s  p99 {figures.p99_ms:8.2f} ms  {trial.setting}")

    note(f"{request.model}, {clients} clients; each setting beside a server without flags, in turns:")
    advice = advise(bundle, request, clients, seconds=seconds, progress=show)
    written = write_advice(advice, folder)
    if as_json:
        print_json({**advice.to_json(), "written": [str(path) for path in written]})
        return
    say(verdict(advice))
    for path in written:
        say(f"Wrote {path}")
    if not written:
        say("Nothing was written.")


def _print(results: list[LoadFigures]) -> None:
    first = results[0]
    sizes = {figures.rows for figures in results}
    each = f"{first.rows} row{'s' if first.rows > 1 else ''} a request" if len(sizes) == 1 else "requests of several sizes"
    say(f"{first.model}, {each}", style="bold")
    named = ("rows",) if len(sizes) > 1 else ()
    columns = ("server", *named, "clients", "requests/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "failed")
    table(columns, [_row(figures, with_rows=len(sizes) > 1) for figures in results])


def _row(figures: LoadFigures, *, with_rows: bool) -> tuple[str, ...]:
    latencies = (figures.p50_ms, figures.p90_ms, figures.p99_ms, figures.max_ms)
    return (
        figures.target,
        *([str(figures.rows)] if with_rows else []),
        str(figures.concurrency),
        f"{figures.per_second:.1f}",
        *(f"{ms:.2f}" for ms in latencies),
        str(figures.failed),
    )

"""tfbundle bench."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, cast

import typer

from bundler.cli.connection import ConnectionOptions
from bundler.cli.output import note, print_json, say, table
from bundler.cli.parameters import takes
from serving.texts import plural

if TYPE_CHECKING:
    from serving.advise.trials import Goal
    from serving.bench.load import LoadFigures
    from serving.client.connection import ConnectionSettings
    from serving.client.prepared_request import PreparedRequest

    Requests: TypeAlias = PreparedRequest | list[PreparedRequest]
    """One request that is sent again and again, or logged requests that are sent in turn."""

_CLIENTS = "1,2,4,8"
_CLIENTS_TO_ADVISE = "64"
GOALS = ("throughput", "latency", "size")
"""What `--goal` takes, as `serving.advise.trials.Goal`."""


@dataclass(frozen=True)
class BenchOptions(ConnectionOptions):
    """The command's parameters."""

    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[HOST:PORT]...",
            help="gRPC port of a server, or an http:// URL for REST. Several servers are measured in turns.",
            show_default=False,
        ),
    ] = None
    bundles: Annotated[
        list[Path] | None,
        typer.Option(
            "--bundle",
            help="Bundle that is served; its golden inputs are sent. --advise: several, with other builds of the same model.",
            show_default=False,
        ),
    ] = None
    replay: Annotated[
        Path | None, typer.Option(metavar="FILE|DIR", help="Logged requests (--log_requests) to send instead of golden data.")
    ] = None
    model: Annotated[str | None, typer.Option(help="Model to measure. Default: the bundle's only model.")] = None
    version: Annotated[
        int | None, typer.Option(min=1, help="Version to measure. Default: the one that the server chooses.")
    ] = None
    signature: Annotated[str, typer.Option(help="Signature to measure.")] = "serving_default"
    rows: Annotated[str, typer.Option("--batch", help="Examples per request; several numbers with commas.")] = "1"
    concurrency: Annotated[
        str | None,
        typer.Option(
            help="Number of concurrent clients; several numbers with commas, each a row of the table. "
            f"Default: {_CLIENTS}; {_CLIENTS_TO_ADVISE} with --advise.",
            show_default=False,
        ),
    ] = None
    seconds: Annotated[float, typer.Option(min=0.05, help="Seconds per server and number of clients.")] = 3.0
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds after which a request counts as failed.")] = 30.0
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Plot latency against throughput: .svg, .png or .pdf. With --advise, all that was tried.",
        ),
    ] = None
    advise: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Try servers with each form of the model, precision, batching and threads, and write the flags of the best "
            "one into this folder.",
        ),
    ] = None
    goal: Annotated[
        str,
        typer.Option(
            metavar="<throughput|latency|size>",
            help="--advise: choose by requests/s of all clients, the latency of a lone client, or the size on disk.",
            autocompletion=lambda: list(GOALS),
        ),
    ] = "throughput"
    update_spec: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="--advise: write the best setting into the section serving of this bundle.yaml, too.",
            show_default=False,
        ),
    ] = None
    allow_unsafe_ops: Annotated[
        bool,
        typer.Option("--allow-unsafe-ops", help="--advise: serve models that reach out to files, the network or Python, too."),
    ] = False
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False

    @property
    def bundle(self) -> Path | None:
        """The first bundle, whose golden data is sent."""
        return self.bundles[0] if self.bundles else None

    @property
    def clients(self) -> tuple[int, ...]:
        """The numbers of concurrent clients.

        Raises:
            UsageError: if they are not whole numbers.
        """
        from bundler.spec.parsing import parse_counts

        default = _CLIENTS_TO_ADVISE if self.advise else _CLIENTS
        return parse_counts(default if self.concurrency is None else self.concurrency)


@takes(BenchOptions)
def bench(options: BenchOptions) -> None:
    """Measure latency and throughput of running servers by number of clients.

    Each client sends its next request when the previous one is answered. Several servers take turns, so that anything
    that disturbs the machine disturbs all of them; compare a SavedModel with its fast path this way.

    With --advise no server is given. Embedded servers run in processes of their own: with each form of the model that the
    bundles hold and that passes its accuracy gate, then with other threads and batches. batching.config and server.flags are
    written with the figures that support them. --update-spec puts the same into a bundle.yaml, from which tfbundle render
    writes the deployments. Several sizes in --batch, or the requests of --replay, are sent as one mix.
    """
    _check(options)
    clients = options.clients
    connection = options.connection(attempts=1)  # a repeated request would hide how often the server refuses one
    requests = _golden_requests(options) if options.bundle and not options.replay else []
    if options.replay:
        requests.append(_logged_requests(options.replay))
    if options.advise:
        _advise(options, options.advise, requests)
        return
    results = _measure(options, requests, clients, connection)
    _show(results, options)
    _fail_if_any_failed(results)


def _advise(options: BenchOptions, folder: Path, requests: list[Requests]) -> None:
    from bundler.cli.bench_advise import AdviseOptions, advise

    given = AdviseOptions(
        options.bundles or [], folder, options.model, options.version, max(options.clients), options.seconds,
        cast("Goal", options.goal), options.plot, options.update_spec, options.allow_unsafe_ops, options.as_json,
    )  # fmt: skip
    advise(given, [each for request in requests for each in (request if isinstance(request, list) else [request])])


def _check(options: BenchOptions) -> None:
    from bundler.errors import UsageError

    if bool(options.targets) == bool(options.advise):
        raise UsageError(
            "Give the servers to measure, or --advise DIR.",
            fix="e.g. tfbundle bench localhost:8500 --bundle DIR, or tfbundle bench --bundle DIR --advise tuned",
            code="TFB1001",
        )
    both = bool(options.bundle) and bool(options.replay)
    if (both and not options.advise) or not (options.bundle or options.replay) or (options.advise and not options.bundle):
        raise UsageError(
            "Give either --bundle or --replay; --advise needs --bundle and takes --replay, too.",
            fix="e.g. --bundle dist/digits",
            code="TFB1001",
        )
    if options.bundles and len(options.bundles) > 1 and not options.advise:
        raise UsageError(
            "Several bundles are compared by --advise only.", fix="give one --bundle, or --advise DIR", code="TFB1001"
        )
    if options.goal not in GOALS:
        raise UsageError(
            f"--goal must be one of {', '.join(GOALS)}, got {options.goal!r}.", fix="write e.g. --goal latency", code="TFB1002"
        )
    if options.advise and options.plot:
        from serving.bench.plot import check_format

        check_format(options.plot)
    if options.update_spec:
        from bundler.operations.advise import check_spec_file

        if not options.advise:
            raise UsageError(
                "--update-spec needs --advise, which finds the setting to write.",
                fix="add e.g. --advise tuned",
                code="TFB1001",
            )
        check_spec_file(options.update_spec)


def _golden_requests(options: BenchOptions) -> list[Requests]:
    """Return a request of the bundle's golden data for each number of examples."""
    from bundler.operations.bench import bench_request
    from bundler.spec.parsing import parse_counts
    from bundler.validation.bundle import Bundle

    assert options.bundle
    bundle = Bundle.open(options.bundle)
    sizes = parse_counts(options.rows)
    return [
        bench_request(bundle, options.model, version=options.version, signature=options.signature, rows=rows) for rows in sizes
    ]


def _logged_requests(file: Path) -> list[PreparedRequest]:
    from serving.client.request_log import NOT_SENT
    from serving.smoke.replay import read_requests

    logged = read_requests(file)
    for kind, count in sorted(logged.left_out.items()):
        note(f"{plural(count, 'record')} of {kind} in {file} skipped: {NOT_SENT.get(kind, 'this kind is unknown')}.")
    return list(logged.requests)


def _measure(
    options: BenchOptions, requests: list[Requests], clients: tuple[int, ...], connection: ConnectionSettings
) -> list[LoadFigures]:
    from serving.bench.load import Load, measure

    loads = [Load(number, options.seconds) for number in clients]
    results = []
    for request in requests:
        if not isinstance(request, list) and not request.outputs:
            note(f"The golden data have no call with {plural(request.rows, 'row')}, so answers are not compared with PyTorch's.")
        results += measure(options.targets or [], request, loads, timeout=options.timeout, connection=connection)
    return results


def _show(results: list[LoadFigures], options: BenchOptions) -> None:
    if options.as_json:
        print_json([figures.to_json() for figures in results])
    else:
        _print(results)
    if options.plot:
        from serving.bench.plot import draw

        draw(results, options.plot)
        note(f"Wrote the plot to {options.plot}.")


def _fail_if_any_failed(results: list[LoadFigures]) -> None:
    failures = [figures for figures in results if figures.failed]
    for figures in failures:
        clients, requests = plural(figures.concurrency, "client"), plural(figures.failed, "request")
        note(f"{figures.target}, {clients}: {requests} failed: {figures.failure}")
    if failures:
        raise typer.Exit(1)


def _print(results: list[LoadFigures]) -> None:
    first = results[0]
    has_sizes = len({figures.rows for figures in results}) > 1
    size = "requests of several sizes" if has_sizes else f"{plural(first.rows, 'row')} per request"
    say(f"{first.model}, {size}", style="bold")
    rows = ("rows",) if has_sizes else ()
    columns = ("server", *rows, "clients", "requests/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "failed")
    table(columns, [_row(figures, with_rows=has_sizes) for figures in results])


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

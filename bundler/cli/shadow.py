"""tfbundle shadow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from bundler.cli.connection import ConnectionOptions
from bundler.cli.output import note, print_error, print_json, say, table
from bundler.cli.parameters import takes
from serving.texts import plural

if TYPE_CHECKING:
    from serving.shadow.report import AgreeOn, Bounds, ShadowReport
    from serving.shadow.run import Plan, Shadow
    from serving.shadow.sides import Side
    from serving.shadow.tally import OutputFigures, Tally

AGREE_ON = ("values", "top1")
"""What `--agree-on` takes, as `serving.shadow.report.AgreeOn`."""


@dataclass(frozen=True)
class ShadowOptions(ConnectionOptions):
    """The command's parameters."""

    target: Annotated[
        str, typer.Argument(metavar="HOST:PORT", help="gRPC port of the server, or an http:// URL for REST.")
    ]
    requests: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE|DIR",
            help="Logged requests (--log_requests), or a folder of such files; may be given several times.",
            show_default=False,
        ),
    ]
    versions: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="A B", help="The two versions to compare; A is the reference.", show_default=False),
    ] = None
    labels: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Labels of the two versions, instead of their numbers.", show_default=False),
    ] = None
    model: Annotated[
        str | None, typer.Option(help="Model whose requests are sent. Default: that of the first request.")
    ] = None
    signature: Annotated[str | None, typer.Option(help="Send only the requests of this signature.")] = None
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            "--output", metavar="NAME", help="Compare only this output; may be given several times.", show_default=False
        ),
    ] = None
    limit: Annotated[int | None, typer.Option(min=1, help="Send at most so many requests.")] = None
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Number of requests under way at once.")] = 1
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Largest relative difference of values that agree.")
    ] = 1e-4
    agree_on: Annotated[
        str,
        typer.Option(
            metavar="<values|top1>",
            help="Versions agree on a request if all values do, or if each row has the same top class.",
            autocompletion=lambda: list(AGREE_ON),
        ),
    ] = "values"
    max_disagreement: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Exit with code 3 if the versions differ on a larger share of the requests."),
    ] = None
    max_latency_ratio: Annotated[
        float | None,
        typer.Option(min=0.01, help="Exit with code 3 if the median latency of B is more than so many times that of A."),
    ] = None
    noise_every: Annotated[
        int, typer.Option(min=0, help="Ask A twice in every so many requests, to see how far it differs from itself; 0: never.")
    ] = 10
    worst: Annotated[int, typer.Option(min=0, max=1000, help="Number of the worst requests to show.")] = 5
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds after which a request counts as failed.")] = 30.0
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.md", help="Write the result as Markdown, too.", show_default=False)
    ] = None
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Plot latencies and differences: .svg, .png or .pdf.", show_default=False
        ),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False


@takes(ShadowOptions)
def shadow(options: ShadowOptions) -> None:
    """Send logged requests to two versions of a model on a running server, and report where they differ.

    The log is one of tensorflow_model_server or of `tfbundle serve --log_requests=DIR`. Each request goes to both versions,
    which take turns in being first. The result has the share of requests on which they agree, the differences per output,
    the worst requests, failures, and latencies. Exit code 3: a bound is exceeded; 1: the comparison is not complete.
    """
    from bundler.cli.boundary import cleanly_interrupted
    from serving.shadow.report import Bounds
    from serving.shadow.run import Shadow

    plan = _plan(options)
    bounds = Bounds(options.max_disagreement, options.max_latency_ratio)
    comparison = Shadow(options.target, options.requests, plan)
    with cleanly_interrupted("The figures are those of the requests before."):
        try:
            with _progress(options.as_json) as progress:
                comparison.run(progress)
        except KeyboardInterrupt:
            _show(comparison, bounds, options)
            raise
    report = _show(comparison, bounds, options)
    raise typer.Exit(_exit_code(report, bounds))


def _plan(options: ShadowOptions) -> Plan:
    from bundler.errors import UsageError
    from serving.shadow.run import Plan

    if options.agree_on not in AGREE_ON:
        what = f"--agree-on must be one of {', '.join(AGREE_ON)}, got {options.agree_on!r}."
        raise UsageError(what, fix="write e.g. --agree-on top1", code="TFB1002")
    if options.report and options.report.suffix != ".md":
        what = f"A report cannot be written as {options.report.name!r}."
        raise UsageError(what, fix="give a name that ends with .md", code="TFB1002")
    if options.plot:
        from serving.bench.plot import check_format

        check_format(options.plot)
    return Plan(
        sides=_sides(options),
        model=options.model,
        signature=options.signature,
        outputs=tuple(options.outputs or ()),
        limit=options.limit,
        concurrency=options.concurrency,
        tolerance=options.tolerance,
        agree_on=cast("AgreeOn", options.agree_on),
        noise_every=options.noise_every,
        worst=options.worst,
        timeout=options.timeout,
        connection=options.connection(attempts=1),  # a repeated request would hide how often a version refuses one
    )


def _sides(options: ShadowOptions) -> tuple[Side, Side]:
    from bundler.errors import UsageError
    from serving.shadow.sides import Side

    if options.versions and not options.labels:
        first, second = options.versions
        return Side(version=first), Side(version=second)
    if options.labels and not options.versions:
        return Side(label=options.labels[0]), Side(label=options.labels[1])
    raise UsageError("Give either --versions or --labels.", fix="e.g. --versions 1 2, or --labels stable canary", code="TFB1001")


@contextmanager
def _progress(as_json: bool) -> Iterator[Callable[[Tally], None] | None]:
    """Show the number of requests while the comparison runs, on terminals only."""
    from bundler.cli.output import console

    view = console(stderr=True)
    if as_json or not view.is_terminal:
        yield None
        return
    with view.status("") as status:
        yield lambda tally: status.update(f"{plural(tally.requests, 'request')}, {tally.differed + tally.one_failed} differ")


def _show(comparison: Shadow, bounds: Bounds, options: ShadowOptions) -> ShadowReport:
    report = comparison.report()
    if options.as_json:
        print_json(report.to_json(bounds))
    else:
        _print(report)
    if options.report:
        from serving.shadow.markdown import write_markdown

        write_markdown(report, bounds, options.report)
        note(f"Wrote the report to {options.report}.")
    if options.plot:
        from serving.shadow.plot import draw

        draw(report, options.plot)
        note(f"Wrote the plot to {options.plot}.")
    return report


def _exit_code(report: ShadowReport, bounds: Bounds) -> int:
    """Print why the comparison fails, if it does, and return the exit code."""
    if report.incomplete:
        fix = "mend the cause and compare again: the figures describe only the part that was compared"
        what = f"The comparison is not complete. {' '.join(report.incomplete)}"
        print_error(what, where=report.target, fix=fix, code="TFB9354")
        return 1
    if report.disagreement is None:
        failed = f"First, {next(iter(report.tally.sides[0].examples.values()))}"
        fix = "send requests that the versions take: see the messages, and --signature"
        print_error(f"{report.verdict()} {failed}", where=report.target, fix=fix, code="TFB9357")
        return 1
    if exceeded := report.exceeded(bounds):
        fix = "look at the worst requests; keep the version out of service, or allow more with the flag"
        print_error(" ".join(exceeded), where=f"{report.target}, model {report.model}", fix=fix, code="TFB9358")
        return 3
    return 0


def _print(report: ShadowReport) -> None:
    say(f"{report.model}: {_title(report, 0)} and {_title(report, 1)}", style="bold")
    columns = ("", "answered", "failed", "p50 ms", "p99 ms")
    table(columns, [_side_row(report, number) for number in (0, 1)])
    if report.outputs:
        heads = ("output", "requests", "differ", "max abs", "mean abs", "max rel", "same top class")
        table(heads, [_output_row(each) for each in report.outputs])
    for each in report.outputs:
        if each.problem:
            say(f"{each.signature}/{each.output}, {plural(each.incomparable, 'request')}: {each.problem}")
    for number, side in enumerate(report.tally.sides):
        for status, example in side.examples.items():
            failed = plural(side.failures[status], "request")
            say(f"{report.names[number]} fails {failed} with {status}, e.g. {example}")
    for worst in report.tally.worst:
        say(f"{worst.where}, {worst.signature}{' (agrees)' if worst.agrees else ''}: {worst.explanation}")
        say(f"  inputs: {'; '.join(worst.inputs)}")
    for sentence in report.notes():
        say(sentence)
    share = report.disagreement
    say(report.verdict(), style="bold green" if share == 0 and not report.incomplete else "bold yellow")


def _title(report: ShadowReport, number: int) -> str:
    name, version = report.names[number], f"version {report.versions[number]}"
    return name if name == version else f"{name} ({version})"


def _side_row(report: ShadowReport, number: int) -> tuple[str, ...]:
    side = report.tally.sides[number]
    times = ("" if ms is None else f"{ms:.2f}" for ms in (side.percentile_ms(50), side.percentile_ms(99)))
    return (_title(report, number), str(side.answered), str(side.failed), *times)


def _output_row(figures: OutputFigures) -> tuple[str, ...]:
    from serving.shadow.report import share_text

    numbers = (figures.max_abs, figures.mean_abs, figures.max_rel)
    has_numbers = figures.mean_abs is not None
    cells = (f"{number:.3g}" if number is not None and has_numbers and number != float("inf") else "" for number in numbers)
    top = "" if figures.top_agreement is None else share_text(figures.top_agreement)
    return (f"{figures.signature}/{figures.output}", str(figures.requests), str(figures.differing), *cells, top)

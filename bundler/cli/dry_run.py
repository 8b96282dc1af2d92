"""tfbundle build --dry-run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from bundler.cli.boundary import cleanly_interrupted
from bundler.cli.output import print_json, say, table
from bundler.cli.progress import stages
from serving.texts import plural

if TYPE_CHECKING:
    from bundler.operations.dry_run import DryRun, FailedNode
    from bundler.spec.request import BuildRequest


def dry_run(request: BuildRequest, *, as_json: bool) -> None:
    """Print how every operator would be converted; exit with 1 if a node would fail."""
    from bundler.operations.dry_run import dry_run as run

    with cleanly_interrupted("nothing was written."), stages(3 * len(request.spec.models)) as progress:
        results = run(request.spec, base=request.base, progress=progress)
    converts = all(result.converts for result in results)
    if as_json:
        print_json({"converts": converts, "signatures": [result.to_json() for result in results]})
    else:
        for result in results:
            _show(result)
        _show_total(results)
    if not converts:
        raise typer.Exit(1)


def _show(result: DryRun) -> None:
    operators = result.operators
    total = plural(sum(row.nodes for row in operators), "node")
    kinds = plural(len(operators), "kind of operator", "kinds of operator")
    say(f"{result.model}, {result.signature}: {total}, {kinds}", style="bold")
    rows = []
    for row in operators:
        layout = row.layout.lower() if row.layout else ""
        failing = str(row.failing) if row.failing else ""
        since = "" if row.since is None else str(row.since)
        rows.append((f"{row.domain}::{row.name}", str(row.nodes), row.handler or "none", since, layout, failing))
    table(("operator", "nodes", "handler", "since", "layout", "fail"), rows)
    for failure in result.failures:
        _show_failure(failure)
    unchecked = result.unchecked
    if unchecked:
        names = ", ".join(unchecked[:5]) + (" …" if len(unchecked) > 5 else "")
        say(f"Not checked, because they depend on these: {plural(len(unchecked), 'node')} ({names}).")


def _show_failure(failure: FailedNode) -> None:
    say(f"✗ {failure.operator}: {failure.what}", style="red")
    say(f"    {failure.node}")
    if failure.line:
        say(f"    where: {failure.line}")
    if failure.fix:
        say(f"    to do: {failure.fix}")


def _show_total(results: Sequence[DryRun]) -> None:
    failing = sum(len(result.failures) for result in results)
    total = plural(sum(row.nodes for result in results for row in result.operators), "node")
    if failing:
        say(f"{failing} of {total} would fail.", style="bold red")
    else:
        say(f"{total}: all would convert.", style="bold green")

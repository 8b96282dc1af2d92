"""tfbundle build --dry-run"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from bundler.cli.boundary import cleanly_interrupted
from bundler.cli.output import print_json, say, table
from bundler.cli.progress import stages

if TYPE_CHECKING:
    from bundler.operations.dry_run import DryRun, FailedNode
    from bundler.spec.request import BuildRequest


def dry_run(request: BuildRequest, *, as_json: bool) -> None:
    """Print what would become of every operator; exit 1 if a node would fail."""
    from bundler.operations.dry_run import dry_run as run

    with cleanly_interrupted("nothing was written."), stages(3 * len(request.spec.models)) as progress:
        found = run(request.spec, base=request.base, progress=progress)
    converts = all(one.converts for one in found)
    if as_json:
        print_json({"converts": converts, "signatures": [one.to_json() for one in found]})
    else:
        for one in found:
            _show(one)
        _conclude(found)
    if not converts:
        raise typer.Exit(1)


def _show(one: DryRun) -> None:
    total = sum(row.nodes for row in one.operators)
    say(f"{one.model}, {one.signature}: {_nodes(total)}, {_kinds(len(one.operators))}", style="bold")
    rows = []
    for row in one.operators:
        layout = row.layout.lower() if row.layout else ""
        failing = str(row.failing) if row.failing else ""
        since = "" if row.since is None else str(row.since)
        rows.append((f"{row.domain}::{row.name}", str(row.nodes), row.handler or "none", since, layout, failing))
    table(("operator", "nodes", "handler", "since", "layout", "fail"), rows)
    for failure in one.failures:
        _show_failure(failure)
    if one.unchecked:
        some = ", ".join(one.unchecked[:5]) + (" …" if len(one.unchecked) > 5 else "")
        say(f"Not checked, as they depend on these: {_nodes(len(one.unchecked))} ({some}).")


def _show_failure(failure: FailedNode) -> None:
    say(f"✗ {failure.operator}: {failure.what}", style="red")
    say(f"    {failure.node}")
    if failure.line:
        say(f"    where: {failure.line}")
    if failure.fix:
        say(f"    to do: {failure.fix}")


def _conclude(found: Sequence[DryRun]) -> None:
    failing = sum(len(one.failures) for one in found)
    total = sum(row.nodes for one in found for row in one.operators)
    if failing:
        say(f"{failing} of {_nodes(total)} would fail.", style="bold red")
    else:
        say(f"{_nodes(total)}: all would convert.", style="bold green")


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _kinds(count: int) -> str:
    return "1 kind of operator" if count == 1 else f"{count} kinds of operator"

"""tfbundle promote"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.cli.boundary import cleanly_interrupted
from bundler.cli.output import note, print_json, say, table

if TYPE_CHECKING:
    from bundler.operations.promote import Promoted


def promote(
    bundle: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that tfbundle build wrote.")],
    model: Annotated[str | None, typer.Option(help="Which model; not needed where there is one.")] = None,
    label: Annotated[str | None, typer.Option(help="stable, canary, or another; without it: show what there is.")] = None,
    version: Annotated[int | None, typer.Option(min=1, help="The version that the label is to name.")] = None,
    back: Annotated[bool, typer.Option("--rollback", help="Let the label name what it named before.")] = False,
    server: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="gRPC port of a running server that is to follow.")
    ] = None,
    models_dir: Annotated[str, typer.Option(help="The bundle's models/ where that server runs.")] = "/models",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds until the version serves there.")] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Let a label name a version, in every config of the bundle and in a running server; or roll that back.

    The server loads the version first and is given the label once it is AVAILABLE. It gets the bundle's whole config: models
    of others that it serves go.
    """
    from bundler.errors import UsageError
    from bundler.operations.promote import RunningServer, rollback
    from bundler.operations.promote import promote as move

    if label is None:
        if back or version is not None:
            raise UsageError("Which label?", fix="e.g. --label stable")
        _show(bundle, as_json=as_json)
        return
    if back == (version is not None):
        raise UsageError(f"Where to is the label {label} to move?", fix="give --version N, or --rollback")
    to = RunningServer(server, models_dir, timeout) if server else None
    with cleanly_interrupted(f"{bundle} is as it was, unless it was just being published."):
        if version is None:
            done = rollback(bundle, model, label, to)
        else:
            done = move(bundle, model, label, version, to)
    _tell(done, server, as_json=as_json)


def _tell(done: Promoted, server: str | None, *, as_json: bool) -> None:
    for notice in done.published.notices if done.published else ():
        note(notice)
    if as_json:
        row = {"model": done.model, "label": done.label, "before": done.before, "version": done.version}
        print_json({**row, "served": list(done.versions), "server": server, "changed": done.published is not None})
        return
    before = f"version {done.before}" if done.before else "none"
    now = f"version {done.version}" if done.version else "none"
    say(f"{done.model}: {done.label} was {before}, is {now}; served: {', '.join(map(str, done.versions))}")
    say(f"{server} serves it." if server else "Running servers get it with --server HOST:PORT, or with serving/models.config.")


def _show(bundle: Path, *, as_json: bool) -> None:
    from bundler.validation.bundle import Bundle

    manifest = Bundle.open(bundle).manifest
    labels: dict[str, dict[str, int]] = manifest.spec["serving"]["labels"]
    if as_json:
        print_json({"labels": labels, "promotions": list(manifest.promotions)})
        return
    rows = [(model, name, str(number)) for model, of in labels.items() for name, number in of.items()]
    if rows:
        table(("model", "label", "version"), rows)
    else:
        say("No version has a label.")
    if manifest.promotions:
        say()
        table(("when", "what", "model", "label", "from", "to"), [_row(entry) for entry in manifest.promotions])


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    ends = (str(entry[key]) if entry[key] else "none" for key in ("before", "version"))
    return (entry["at"], entry["kind"], entry["model"], entry["label"], *ends)

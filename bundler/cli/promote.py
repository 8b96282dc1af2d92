"""tfbundle promote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.cli.boundary import cleanly_interrupted
from bundler.cli.connection import ConnectionOptions
from bundler.cli.output import note, print_json, say, table
from bundler.cli.parameters import takes
from bundler.cli.remote import BUNDLE, changed_folder, folder_of

if TYPE_CHECKING:
    from bundler.operations.promote import Promoted


@dataclass(frozen=True)
class PromoteOptions(ConnectionOptions):
    """The command's parameters."""

    bundle: Annotated[str, typer.Argument(metavar="DIR", help=BUNDLE)]
    model: Annotated[str | None, typer.Option(help="Model to change. Default: the bundle's only model.")] = None
    label: Annotated[
        str | None, typer.Option(help="Label to move: stable, canary or another. Without it, the labels are listed.")
    ] = None
    version: Annotated[int | None, typer.Option(min=1, help="Version that the label should point to.")] = None
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Point the label at its previous version.")
    ] = False
    require_gate: Annotated[
        bool,
        typer.Option(
            "--require-gate",
            help="Refuse a version that was not built with --against the version that the label points to.",
        ),
    ] = False
    server: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="gRPC port of a running server to update.")
    ] = None
    models_dir: Annotated[str, typer.Option(help="Path of the bundle's models/ folder for that server.")] = "/models"
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait until the server serves the version.")] = 120.0
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False


@takes(PromoteOptions)
def promote(options: PromoteOptions) -> None:
    """Point a label at a version, in every config of the bundle and in a running server; or roll that back.

    The server loads the version first and gets the label once it is AVAILABLE. The server's config is replaced with the
    bundle's, so it stops serving models that are not in the bundle.
    """
    from bundler.errors import UsageError

    if options.label is None:
        if options.rollback or options.require_gate or options.version is not None:
            raise UsageError("Which label should be moved?", fix="name one, e.g. --label stable", code="TFB1001")
        _show_labels(options.bundle, as_json=options.as_json)
        return
    if options.rollback == (options.version is not None):
        raise UsageError(
            f"Which version should {options.label!r} point to?",
            fix="give either --version N or --rollback",
            code="TFB1001",
        )
    if options.rollback and options.require_gate:
        raise UsageError(
            "--require-gate is for promotions: a rollback returns to a version that was in service.",
            fix="leave out --require-gate",
            code="TFB1001",
        )
    with cleanly_interrupted(f"{options.bundle} is unchanged, unless the change was just being published."):
        promoted = _move(options, options.label)
    _show(promoted, options.server, as_json=options.as_json)


def _move(options: PromoteOptions, label: str) -> Promoted:
    from bundler.operations.promote import RunningServer, rollback
    from bundler.operations.promote import promote as move

    server = None
    if options.server:
        server = RunningServer(options.server, options.models_dir, options.timeout, options.connection())
    if options.version is None:
        with changed_folder(options.bundle) as folder:
            return rollback(folder, options.model, label, server)
    with changed_folder(options.bundle) as folder:
        return move(folder, options.model, label, options.version, server, require_gate=options.require_gate)


def _show(promoted: Promoted, server: str | None, *, as_json: bool) -> None:
    for notice in promoted.published.notices if promoted.published else ():
        note(notice)
    if as_json:
        row = {"model": promoted.model, "label": promoted.label, "before": promoted.before, "version": promoted.version}
        changed = promoted.published is not None
        print_json({**row, "served": list(promoted.versions), "server": server, "changed": changed})
        return
    before = f"version {promoted.before}" if promoted.before else "none"
    now = f"points to version {promoted.version}" if promoted.version else "points to no version"
    served = ", ".join(map(str, promoted.versions))
    say(f"{promoted.model}: {promoted.label} {now} (before: {before}); served versions: {served}")
    hint = "To update a running server, repeat the command with --server HOST:PORT, or load serving/models.config in it."
    say(f"{server} serves it." if server else hint)


def _show_labels(bundle: str, *, as_json: bool) -> None:
    from bundler.validation.bundle import Bundle

    manifest = Bundle.open(folder_of(bundle, "without_weights")).manifest
    labels: dict[str, dict[str, int]] = manifest.spec["serving"]["labels"]
    if as_json:
        print_json({"labels": labels, "promotions": list(manifest.promotions)})
        return
    rows = [(model, label, str(version)) for model, versions in labels.items() for label, version in versions.items()]
    if rows:
        table(("model", "label", "version"), rows)
    else:
        say("No version has a label.")
    if manifest.promotions:
        say()
        table(("when", "what", "model", "label", "from", "to"), [_row(entry) for entry in manifest.promotions])


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    versions = (str(entry[key]) if entry[key] else "none" for key in ("before", "version"))
    return (entry["at"], entry["kind"], entry["model"], entry["label"], *versions)

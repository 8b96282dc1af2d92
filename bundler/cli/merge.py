"""tfbundle merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bundler.cli.boundary import cleanly_interrupted
from bundler.cli.progress import models as models_progress
from bundler.cli.progress import transfers
from bundler.cli.remote import Insecure, changed_folder
from bundler.cli.target import Target


def merge(
    shards: Annotated[
        list[str],
        typer.Argument(
            metavar="SHARDS...", help="What builds with --shard wrote: their folder or address, or that of each shard."
        ),
    ],
    output: Annotated[
        str, typer.Option("--output-dir", "-o", metavar="DIR", help="Folder of the bundle, or an address: s3://bucket/NAME.")
    ],
    version: Annotated[
        int | None, typer.Option(min=1, help="Number of the new versions. Default: the next free one of each model.")
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Wait as long as this for shards that are still being built.")
    ] = 0,
    report: Annotated[Path | None, typer.Option(help="Also write the report here.")] = None,
    insecure: Insecure = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Put the shards of a build together, and publish all models at once as new versions in a bundle.

    Models that failed in their shards are left out; the others are published, and the exit code is that of the failures.
    """
    from bundler.cli.build_many import show, shown_failures
    from bundler.operations.many import Places, merge_shards

    target = Target(output, version, adopt=False, report=report, in_file=True, as_json=as_json)
    target.check_report()
    opened, places = changed_folder(output, may_be_new=True), Places(tuple(shards), insecure, wait)
    with shown_failures(target):
        with cleanly_interrupted(f"nothing was published; {output} is unchanged."), opened as folder, models_progress(0) as hooks:
            many = merge_shards(places, folder, hooks, version=version, shown=transfers)
        show(many.bundle, many.outcomes, target)

"""tfbundle build-job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bundler.cli.output import print_json, say, say_next


def build_job(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="A bundle.yaml with the section kubernetes.build_job.")],
    output: Annotated[Path, typer.Option("-o", "--output-dir", help="Folder to write the manifests to.")] = Path("build-job"),
    run: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of this run, such as the number of a CI build. Default: the time.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write Kubernetes Jobs that build the models of a bundle.yaml: one with a pod per shard, and one that merges the shards."""
    from bundler.operations.build_job import write_build_job

    written = write_build_job(spec, output, run)
    if as_json:
        print_json({"run": written.name, "folder": str(output), "shards": written.shards})
        return
    say(f"Wrote the Jobs of run {written.name} to {output}; their shards meet at {written.shards}.")
    say_next(("kubectl", "apply", "-k", output))

"""tfbundle render."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bundler.cli.boundary import cleanly_interrupted
from bundler.cli.output import note, print_json, say
from bundler.cli.remote import BUNDLE, changed_folder

_ALL = ("serving", "kubernetes", "docker", "smoke", "report", "openapi")


def render(
    bundle: Annotated[str, typer.Argument(metavar="DIR", help=BUNDLE)],
    parts: Annotated[
        list[str] | None, typer.Argument(metavar="[PART]...", help=f"Parts to write: {', '.join(_ALL)}. Default: all.")
    ] = None,
    spec: Annotated[
        Path | None,
        typer.Option(
            help="An edited bundle.yaml, whose sections serving, kubernetes and docker replace the bundle's."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write configs, manifests, Docker files, smoke test, report and OpenAPI document again.

    Files that you edited are kept as .orig.
    """
    from bundler.render.parts import rerender
    from bundler.spec.bundle_spec import read_spec

    chosen = tuple(dict.fromkeys(parts or _ALL))
    with cleanly_interrupted(f"{bundle} is unchanged."), changed_folder(bundle) as folder:
        published = rerender(folder, chosen, read_spec(spec) if spec else None)
    for notice in published.notices:
        note(notice)
    if as_json:
        print_json({"rendered": list(chosen), "notices": list(published.notices)})
    else:
        say(f"Rendered {', '.join(chosen)} in {bundle}.")

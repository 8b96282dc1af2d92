"""tfbundle setup."""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli.boundary import cleanly_interrupted
from bundler.cli.output import say


def setup(
    package: Annotated[str, typer.Argument(metavar="onnx-tf", help="The package: onnx-tf, for --converter onnx-tf.")],
) -> None:
    """Install an optional package into a folder of its own; nothing in your environment changes."""
    from bundler.operations.setup import set_up

    with cleanly_interrupted("nothing was installed."):
        installed = set_up(package)
    state = "is there already" if installed.was_there else "is installed"
    say(f"{package} {installed.version} {state}: {installed.folder}")

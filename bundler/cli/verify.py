"""tfbundle verify"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bundler.cli.output import note, print_error, print_json, say


def verify(
    bundle: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that tfbundle build wrote.")],
    parity: Annotated[
        bool, typer.Option("--parity/--no-parity", help="Ask the SavedModels again for the golden answers.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check every file's hash, the bundle's structure, and its models' answers to the golden inputs."""
    from bundler.validation.bundle import Bundle

    opened = Bundle.open(bundle)
    problems = opened.verify(parity=parity)
    serious = [problem for problem in problems if problem.serious]
    if as_json:
        print_json({"passed": not serious, "problems": [asdict(problem) for problem in problems]})
    else:
        for problem in problems:
            if problem.serious:
                print_error(str(problem))
            else:
                note(f"note: {problem}")
    if serious:
        raise typer.Exit(1)
    if not as_json:
        count = sum(len(opened.versions(model)) for model in opened.models())
        answers = f", {count} SavedModels answer as PyTorch did" if parity else ""
        say(f"{bundle} is what was built: {len(opened.manifest.files)} files unchanged{answers}.")

"""tfbundle doctor."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from bundler.cli.output import print_json, say
from serving.texts import plural

_MARKS = {"ok": ("✓", "green"), "optional": ("–", "yellow"), "problem": ("✗", "red")}


def doctor(
    build: Annotated[bool, typer.Option("--build/--no-build", help="Also build a small model, and import onnx-tf.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check the installation, and print how to fix what does not work."""
    from bundler.operations.doctor import examine

    findings = []
    for finding in examine(build=build):
        findings.append(finding)
        if not as_json:
            mark, style = _MARKS[finding.status]
            say(
                f"{mark} {finding.name:<24} {finding.detail}", style=style if finding.status != "ok" else None
            )
            if finding.fix:
                say(f"  {'':<24} to do: {finding.fix}")
    problems = [finding for finding in findings if finding.status == "problem"]
    if as_json:
        print_json({"ok": not problems, "findings": [asdict(finding) for finding in findings]})
    elif problems:
        say(f"{plural(len(problems), 'problem')}: " + ", ".join(problem.name for problem in problems))
    else:
        say("Everything that tfbundle needs works.")
    if problems:
        raise typer.Exit(1)

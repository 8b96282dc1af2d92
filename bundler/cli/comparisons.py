"""What commands print of comparisons: of a new version with the one in service, and of artifacts with PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bundler.cli.output import note, print_json, say, table

if TYPE_CHECKING:
    from bundler.cli.target import Target
    from bundler.errors import ComparisonError


def show_comparisons(exc: ComparisonError, target: Target) -> None:
    """Show why a build was refused, and write its report; if that fails, the refusal is still what the exit code tells."""
    if target.report is not None:
        try:
            target.report.write_text(exc.report, "utf-8")
        except OSError as failure:
            note(f"The report {target.report} was not written: {failure.strerror}.")
    if target.as_json:
        print_json({"refused": True, "against": exc.records})
        return
    for model, record in exc.records.items():
        comparison(model, record)


def comparison(model: str, record: dict[str, Any]) -> None:
    """Print the figures of a new version beside those of the one in service."""
    verdicts = {None: "", True: "kept", False: "broken"}
    label = f" ({record['label']})" if record["label"] else ""
    say(f"{model} compared with version {record['version']}{label}:")
    rows = [(line["name"], line["before"], line["after"], line["bound"], verdicts[line["kept"]]) for line in record["lines"]]
    table(("figure", f"version {record['version']}", "new", "bound", ""), rows)


def worst(record: dict[str, Any], runtime: str) -> str:
    """Return the largest relative error of a runtime as text."""
    # The JSON leaves out an error that is not finite (a different class in an integer output).
    inf = float("inf")
    errors = [line.get("max_rel", inf) for line in record["parity"]["summary"] if line["runtime"] == runtime]
    return f"{max(errors):.1e}" if errors else ""

"""Where the result of a build goes to, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """Where a build goes to, and what is shown of it.

    Attributes:
        out: folder or address of the bundle.
        version: number of the new version; None for the next free one.
        adopt: whether to take in a model repository.
        report: a further file for the report.
        in_file: whether the settings are in a bundle.yaml.
        as_json: whether the result is printed as JSON.
    """

    out: str
    version: int | None
    adopt: bool
    report: Path | None
    in_file: bool
    as_json: bool

    @property
    def shown_report(self) -> str:
        """The path of the report as the user would type it."""
        return str(Path(self.out, "report.html"))

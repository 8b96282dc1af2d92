"""Where the result of a build goes to, and how it is shown."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from serving.texts import shell_command


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

    def check_report(self) -> None:
        """Raise UsageError if the further report cannot be written, before the minutes of a build."""
        from bundler.errors import UsageError

        path = self.report
        if path is None:
            return
        folder, what, fix = path.parent, "", ""
        if not folder.is_dir():
            what = f"The folder {folder} for the report does not exist."
            fix = f"run `{shell_command('mkdir', '-p', folder)}` first"
        elif path.is_dir():
            what, fix = f"{path} is a folder.", f"name a file in it, e.g. --report {shell_command(path / 'report.html')}"
        elif not os.access(path if path.exists() else folder, os.W_OK):
            what, fix = f"The report {path} cannot be written: permission denied.", "choose another file with --report FILE"
        if what:
            raise UsageError(what, fix=fix, code="TFB5001")

"""Cuts a release in CHANGELOG.md and pyproject.toml, and prints the notes of one (CONTRIBUTING.md, "A release").

    python -m docs.release cut 0.2.0      # `make release VERSION=0.2.0`
    python -m docs.release notes v0.2.0   # .github/workflows/release.yml

It needs nothing but the standard library, because the workflow runs it before anything is installed.
"""

from __future__ import annotations

import argparse
import re
import sys
from datetime import date, datetime, timezone
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[1]
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:rc([1-9]\d*))?")
_HEADING = re.compile(r"^## \[(?P<name>[^\]]+)\](?: - (?P<date>\d{4}-\d\d-\d\d))?[ \t]*$", re.MULTILINE)
_LINK = re.compile(r"^\[[^\]]+\]: .*\n?", re.MULTILINE)
_OWN_VERSION = re.compile(r'^version = "([^"]+)"$', re.MULTILINE)
_REPOSITORY = re.compile(r'^repository-code: "?(https://[^"\s]+?)/?"?$', re.MULTILINE)
UNRELEASED = "Unreleased"


class ReleaseError(Exception):
    """The release cannot be cut, or there is none of that name."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m docs.release", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("cut", help="move the unreleased changes under a version").add_argument("version")
    commands.add_parser("notes", help="print the changes of a released version").add_argument("tag")
    given = parser.parse_args(arguments)
    try:
        if given.command == "notes":
            print(notes(ROOT, given.tag), end="")
            return 0
        cut(ROOT, given.version, datetime.now(timezone.utc).date())
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f'Read the changes, then: git commit -am "Release {given.version}" && git tag v{given.version}')
    return 0


def cut(root: Path, version: str, today: date) -> None:
    """Move the unreleased changes under a heading with the version and the date, and write the version to pyproject.toml.

    Raises:
        ReleaseError: the version is malformed or not newer than the last release, or there are no unreleased changes. No file
            has been changed then.
    """
    changelog, project = root / "CHANGELOG.md", root / "pyproject.toml"
    text = changelog.read_text("utf-8")
    released = [name for name, _, _ in sections(text) if name != UNRELEASED]
    for older in released:
        if order(version) <= order(older):
            raise ReleaseError(f"version {version} is not newer than {older}, which CHANGELOG.md lists")
    if not any(name == UNRELEASED and changes for name, _, changes in sections(text)):
        raise ReleaseError("CHANGELOG.md has no changes under [Unreleased]")
    heading = f"## [{UNRELEASED}]"
    body = _LINK.sub("", text).rstrip().replace(heading, f"{heading}\n\n## [{version}] - {today.isoformat()}", 1)
    match = _REPOSITORY.search((root / "CITATION.cff").read_text("utf-8"))
    if match is None:
        raise ReleaseError("CITATION.cff names no repository-code")
    settings, count = _OWN_VERSION.subn(f'version = "{version}"', project.read_text("utf-8"))
    if count != 1:
        raise ReleaseError(f"pyproject.toml has {count} lines with a version; expected one")
    changelog.write_text(f"{body}\n\n{_links(match[1], [version, *released])}", "utf-8")
    project.write_text(settings, "utf-8")


def notes(root: Path, tag: str) -> str:
    """Return the changes of the release with this tag, as Markdown.

    Raises:
        ReleaseError: the tag is not `v` and the version in pyproject.toml, or CHANGELOG.md has no dated changes of this version.
    """
    match = _OWN_VERSION.search((root / "pyproject.toml").read_text("utf-8"))
    version = match[1] if match else "none"
    if tag != f"v{version}":
        raise ReleaseError(f"the tag is {tag}, but the version in pyproject.toml is {version}")
    for name, day, changes in sections((root / "CHANGELOG.md").read_text("utf-8")):
        if name == version and day and changes:
            return f"{changes}\n"
    raise ReleaseError(f"CHANGELOG.md has no dated changes of version {version}; run: make release VERSION={version}")


def sections(changelog: str) -> list[tuple[str, str, str]]:
    """Return the name, the date (or an empty string) and the changes of each section of a changelog, in its order."""
    text = _LINK.sub("", changelog)
    headings = list(_HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    return [
        (heading["name"], heading["date"] or "", text[heading.end() : end].strip())
        for heading, end in zip(headings, ends, strict=True)
    ]


def order(version: str) -> tuple[int, int, int, float]:
    """Return what versions are compared by; a release candidate comes before its release.

    Raises:
        ReleaseError: the version is neither X.Y.Z nor X.Y.ZrcN.
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        raise ReleaseError(f"version {version!r} is neither X.Y.Z nor X.Y.ZrcN, e.g. 1.4.0 or 1.4.0rc1")
    return int(match[1]), int(match[2]), int(match[3]), float(match[4] or "inf")


def _links(repository: str, versions: list[str]) -> str:
    """Return the definitions of the headings' links: each version's changes since the one before it, newest first."""
    lines = [f"[{UNRELEASED}]: {repository}/compare/v{versions[0]}...HEAD"]
    lines += [f"[{newer}]: {repository}/compare/v{older}...v{newer}" for newer, older in pairwise(versions)]
    return "\n".join([*lines, f"[{versions[-1]}]: {repository}/releases/tag/v{versions[-1]}"]) + "\n"


if __name__ == "__main__":
    sys.exit(main())

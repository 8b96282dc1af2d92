"""The site's sources: the Markdown files of docs/ and of the repository's top, and the pages that are made from the code."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from docs.site import api_reference, cli_reference

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FROM_THE_TOP = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files beside docs/ that are pages of the site, and their paths there."""

_MENTION = re.compile(r"(?<![\w\[/`>])docs/([\w/-]+\.md)(?!\])")
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


def write_sources(folder: Path) -> Path:
    """Write all pages into FOLDER/site-pages and the configuration beside it; return the configuration's path."""
    pages = folder / "site-pages"
    shutil.rmtree(pages, ignore_errors=True)
    for path, text in texts().items():
        target = pages / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
    for picture in sorted(path for path in DOCS.iterdir() if path.suffix in (".png", ".svg")):
        shutil.copy(picture, pages)
    shutil.copy(Path(__file__).with_name("site.css"), pages)
    configuration = folder / "mkdocs.yml"
    configuration.write_text(json.dumps(configuration_of(pages), indent=1), "utf-8")
    return configuration


def texts() -> dict[str, str]:
    """Return the Markdown of every page by its path on the site."""
    written = {path.relative_to(DOCS).as_posix(): path.read_text("utf-8") for path in sorted(DOCS.rglob("*.md"))}
    top = {target: from_the_top((ROOT / name).read_text("utf-8")) for name, target in FROM_THE_TOP.items()}
    made = {"reference/cli.md": cli_reference.page(), **api_reference.pages()}
    return {path: _with_links(path, text) for path, text in {**written, **top, **made}.items()}


def from_the_top(text: str) -> str:
    """Return a file of the repository's top with links as they are on the site, whose top is docs/."""
    text = text.replace("](docs/", "](").replace('src="docs/', 'src="')
    for name, target in FROM_THE_TOP.items():
        text = text.replace(f"]({name}", f"]({target}")
    return text


def _with_links(path: str, text: str) -> str:
    """Make a link of every plain mention of a page, such as docs/tflite.md in a table; code stays as it is."""
    up = "../" * path.count("/")

    def link(match: re.Match[str]) -> str:
        known = (DOCS / match[1]).is_file()
        return f"[{Path(match[1]).stem}]({up}{match[1]})" if known else match[0]

    lines, fenced = [], False
    for line in text.splitlines(keepends=True):
        fenced ^= line.lstrip().startswith("```")
        lines.append(line if fenced or line.startswith("    ") else _MENTION.sub(link, line))
    return "".join(lines)


def configuration_of(pages: Path) -> dict[str, Any]:
    """Return Zensical's configuration for the pages in a folder.

    Raises:
        SystemExit: a page is missing from `nav`, so that no reader would find it.
    """
    configuration: dict[str, Any] = YAML(typ="safe").load(Path(__file__).with_name("mkdocs.yml").read_text("utf-8"))
    nav = _entries(configuration["nav"], pages)
    missing = {path.relative_to(pages).as_posix() for path in pages.rglob("*.md")} - set(_paths(nav))
    if missing:
        raise SystemExit(f"docs/site/mkdocs.yml: nav has no entry for {', '.join(sorted(missing))}")
    configuration["plugins"][1]["mkdocstrings"]["handlers"]["python"]["paths"] = [str(ROOT)]
    return {**configuration, "docs_dir": pages.name, "site_dir": "site", "nav": nav}


def _entries(entries: list[Any], pages: Path) -> list[Any]:
    """Return entries of `nav` with the pages that patterns stand for, without optional pages that do not exist."""
    result: list[Any] = []
    for entry in entries:
        if isinstance(entry, str):
            result.append(entry)
            continue
        ((title, value),) = entry.items()
        if isinstance(value, list):
            result.append({title: _entries(value, pages)})
        elif value.endswith("*.md"):
            found = sorted(pages.glob(value), key=lambda path: (path.name != "index.md", path.name))
            names = [path.relative_to(pages).as_posix() for path in found]
            result += [{title.rstrip("?"): names}] if names else []
        elif not title.endswith("?") or (pages / value).is_file():
            result.append({title.rstrip("?"): value})
    return result


def _paths(entries: list[Any]) -> list[str]:
    paths = []
    for entry in entries:
        values = [entry] if isinstance(entry, str) else list(entry.values())
        for value in values:
            paths += _paths(value) if isinstance(value, list) else [value]
    return paths

"""The site's sources: the Markdown files of docs/ and of the repository's top, and the pages that are made from the code."""

from __future__ import annotations

import json
import posixpath
import re
import shutil
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from docs.site import api_reference, cli_reference

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FROM_THE_TOP = {
    "README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security-policy.md",
}  # fmt: skip
"""Files beside docs/ that are pages of the site if they exist, and their paths there."""

REPOSITORY = "https://github.com/tfbundle/tfbundle"
"""Where a link to another file of the repository leads."""

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")
_MENTION = re.compile(r"(?<![\w\[/`>(])docs/([\w/-]+\.md)(?!\])|(?<=(?<!\])\()docs/([\w/-]+\.md)")


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
    index = pages / "reference" / "index.md"
    index.write_text(index.read_text("utf-8") + _optional_links(pages), "utf-8")
    configuration = folder / "mkdocs.yml"
    configuration.write_text(json.dumps(configuration_of(pages), indent=1), "utf-8")
    return configuration


def texts() -> dict[str, str]:
    """Return the Markdown of every page by its path on the site."""
    files = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in sorted(DOCS.rglob("*.md"))}
    files |= {name: (ROOT / name).read_text("utf-8") for name in FROM_THE_TOP if (ROOT / name).is_file()}
    written = {page_of(file): with_links(file, text) for file, text in files.items()}
    made = {"reference/cli.md": cli_reference.page(), **api_reference.pages()}
    return {**written, **{path: with_links(f"docs/{path}", text) for path, text in made.items()}}


def page_of(file: str) -> str:
    """Return the path on the site of a Markdown file of the repository."""
    return FROM_THE_TOP.get(file, file.removeprefix("docs/"))


def with_links(file: str, text: str) -> str:
    """Return a file's text with links as they are on the site, whose top is docs/; code stays as it is.

    A link to a file that is no page leads to the repository. A plain mention of a page, such as docs/tflite.md in a table,
    becomes a link.
    """
    folder = posixpath.dirname(page_of(file)) or "."

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(file), match["path"]))
        anchor = match["anchor"] or ""
        if target in FROM_THE_TOP or target.startswith("docs/") or not (ROOT / target).exists():
            return posixpath.relpath(page_of(target), folder) + anchor
        return f"{REPOSITORY}/blob/main/{target}{anchor}"

    def mention(match: re.Match[str]) -> str:
        page = match[1] or match[2]
        return f"[{Path(page).stem}]({posixpath.relpath(page, folder)})" if (DOCS / page).is_file() else match[0]

    lines, fenced = [], False
    for line in text.splitlines(keepends=True):
        fenced ^= line.lstrip().startswith("```")
        lines.append(line if fenced or line.startswith("    ") else _MENTION.sub(mention, _LINK.sub(link, line)))
    return "".join(lines)


def _optional_links(pages: Path) -> str:
    """Return list entries for the optional pages of the reference that exist."""
    candidates = {"Errors": "errors/index.md", "Compatibility": "compatibility.md"}
    return "".join(f"- [{title}](../{path})\n" for title, path in candidates.items() if (pages / path).is_file())


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
            children: list[Any] = [name if name.endswith("/index.md") else {Path(name).stem: name} for name in names]
            result += [{title.rstrip("?"): children}] if children else []
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

"""The repository's documents name files, modules and make targets that exist, and their links lead somewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", ".github", "k8s", "examples", "benchmarks", "tests")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
CURRENT = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]
"""Documents of the present state. The changelog may name what is gone."""

_PATH = re.compile(r"\.?[\w-]+(?:/[\w.*-]+)+/?|[\w-]+/")
_PLACEHOLDER = re.compile(r"(?:^|/)[A-Z]{3,}(?:[./]|$)")
_MAKE = re.compile(r"^(?:[$#] )?make ((?:[a-z][a-z-]*\b ?)+)", re.MULTILINE)
_MODULE = re.compile(r"python -m ((?:bundler|serving|docs|tests|benchmarks)(?:\.\w+)*)")
_OWN_PAGE = re.compile(r"https://github\.com/[\w-]+/tfbundle/(?:blob|tree|raw)/main/")
OUTPUTS = ("dist", "build")
"""Folders that `make demo` and others write to, and that git ignores."""
IN_BUNDLES = ("serving/models.config",)
"""Paths of files in a bundle whose first folder has the name of a folder of the repository."""

MADE_BY_THE_SITE = {
    *(f"docs/{name}.md" for name in ("contributing", "changelog")),
    *(f"docs/reference/{name}.md" for name in ("cli", "bundler", "mlflow", "ops", "serving")),
}
"""Pages that `make docs` adds to those of docs/, and whose links it checks."""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tokens(path: Path) -> list[Token]:
    parser = MarkdownIt("commonmark").enable("table")
    blocks = parser.parse(re.sub(r"\A---\n.*?\n---\n", "", path.read_text("utf-8"), flags=re.DOTALL))
    return [token for block in blocks for token in (block, *(block.children or ()))]


@cache
def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a document, and those that it sets itself."""
    headings = [title.content for token, title in pairwise(tokens(path)) if token.type == "heading_open"]
    slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    repeated = {f"{slug}-{number}" for i, slug in enumerate(slugs) if (number := slugs[:i].count(slug))}
    return {*slugs, *repeated, *re.findall(r'\b(?:id|name)="([^"]+)"', path.read_text("utf-8"))}


def links(path: Path) -> Iterator[str]:
    for token in tokens(path):
        target = token.attrs.get("href", token.attrs.get("src"))
        if isinstance(target, str):
            yield _OWN_PAGE.sub("/", target)


def broken(path: Path, link: str) -> bool:
    """Return whether a link into the repository leads nowhere; links to other sites count as whole."""
    if re.match(r"[a-z]+:", link):
        return False
    name, _, anchor = link.partition("#")
    target = path if not name else ROOT / name[1:] if name.startswith("/") else Path(os.path.normpath(path.parent / name))
    if target.is_relative_to(ROOT) and relative(target) in MADE_BY_THE_SITE:
        return False
    return not target.exists() or bool(anchor and target.suffix == ".md" and anchor not in anchors(target.resolve()))


def code(path: Path) -> Iterator[str]:
    yield from (token.content for token in tokens(path) if token.type in ("code_inline", "fence", "code_block"))


def named_paths(path: Path) -> Iterator[str]:
    """Return the words in backticks that are paths into the repository, without those with a placeholder."""
    for token in tokens(path):
        if token.type == "code_inline" and _PATH.fullmatch(token.content) and not _PLACEHOLDER.search(token.content):
            first = token.content.partition("/")[0]
            if (ROOT / first).is_dir() and first not in OUTPUTS and token.content not in IN_BUNDLES:
                yield token.content


@cache
def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def test_documents_are_found() -> None:
    names = {relative(path) for path in DOCUMENTS}
    assert {"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"} <= names and len(names) > 10


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(path: Path) -> None:
    assert not [link for link in links(path) if broken(path, link)]


@pytest.mark.parametrize("path", CURRENT, ids=relative)
def test_paths_in_backticks_exist(path: Path) -> None:
    assert not [name for name in named_paths(path) if not list(ROOT.glob(name.rstrip("/")))]


@pytest.mark.parametrize("path", CURRENT, ids=relative)
def test_make_targets_exist(path: Path) -> None:
    named = {target for text in code(path) for line in _MAKE.findall(text) for target in line.split()}
    assert named <= make_targets()


@pytest.mark.parametrize("path", CURRENT, ids=relative)
def test_modules_to_run_exist(path: Path) -> None:
    modules = {name.replace(".", "/") for text in code(path) for name in _MODULE.findall(text)}
    assert not {name for name in modules if not ((ROOT / f"{name}.py").is_file() or (ROOT / name / "__main__.py").is_file())}


def test_a_broken_link_path_or_target_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A title\n\n"
        "[a](#a-title) [b](#no) [c](none.md) [d](https://github.com/x/tfbundle/blob/main/LICENSE) [e](page.md#no)\n\n"
        "`bundler/none.py` `bundler/FAMILY.py` `make nothing` `python -m docs.nothing`\n"
    )
    assert [link for link in links(page) if broken(page, link)] == ["#no", "none.md", "page.md#no"]
    assert list(named_paths(page)) == ["bundler/none.py"]
    assert [_MAKE.findall(text) for text in code(page)][2] == ["nothing"]
    assert [_MODULE.findall(text) for text in code(page)][3] == ["docs.nothing"]

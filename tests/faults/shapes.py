"""The structure of a rendered file without its texts: a string that stays a string cannot change it."""

from __future__ import annotations

import ast
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt

from tests.bundler.render.test_docker import parse_dockerfile

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MARKDOWN = MarkdownIt("commonmark").enable("table")


def shapes(folder: Path) -> dict[str, Any]:
    """Return the structure of every file below a folder, by path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): shape(path.relative_to(folder), path.read_text("utf-8")) for path in paths}


def shape(path: Path, text: str) -> Any:
    """Return the structure of one file; of a file that is the same for every bundle, its text."""
    if path.name.startswith("Dockerfile"):
        return len(text.splitlines()) if path.suffix == ".dockerignore" else _docker(text)
    if path.suffix == ".yaml" and "templates" not in path.parts:
        return [skeleton(document) for document in yaml.load_all(text, _LOADER)]
    if path.suffix == ".json":
        return skeleton(json.loads(text))
    if path.suffix == ".config":
        return [re.split(r"[:{]", line)[0] for line in text.splitlines()]
    return {".md": markdown_shape, ".html": html_shape, ".py": _python}.get(path.suffix, str)(text)


def skeleton(value: Any) -> Any:
    """Return YAML or JSON with its keys, and with the type in place of each other value."""
    if isinstance(value, dict):
        return {key: skeleton(member) for key, member in value.items()}
    if isinstance(value, list):
        return [skeleton(member) for member in value]
    return type(value).__name__


def _docker(text: str) -> list[tuple[str, int]]:
    return [(word, len(shlex.split(rest))) for word, rest in parse_dockerfile(text)]


def markdown_shape(text: str) -> list[Any]:
    """Return the tokens of Markdown without their texts; of a code block in a shell's language, the number of words."""
    found: list[Any] = []
    for token in _MARKDOWN.parse(text):
        if token.type == "fence":
            found.append(len(shlex.split(token.content, comments=True)))
        elif token.type == "inline":
            found.append([kind for child in token.children or () if (kind := _inline(child.type, child.content))])
        else:
            found.append(token.type)
    return found


def _inline(kind: str, content: str) -> str:
    """Return the kind of an inline token; code style has two spellings, and text no kind."""
    if kind == "html_inline":
        return "code_inline" if content == "<code>" else "" if content == "</code>" else content
    return "" if kind in ("text", "text_special") else kind


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[Any] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, [name for name, _ in attrs]))

    def handle_endtag(self, tag: str) -> None:
        self.found.append(f"/{tag}")


def html_shape(text: str) -> list[Any]:
    """Return the tags of a page with the names of their attributes."""
    return _Tags(text).found


def _python(text: str) -> list[str]:
    return [type(node).__name__ for node in ast.walk(ast.parse(text))]

"""Finds, in the source, where errors are raised, their codes, and the templates of their messages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]

BASE = "ExplainedError"

HOLE = "\0"
"""Stands for the part of a message that is known only when it is raised."""


@dataclass(frozen=True)
class RaiseSite:
    """A call that makes an error, or prints one.

    Attributes:
        place: file and line.
        error: name of the class, or of the function that prints it.
        code: the code as a constant; `passed on` if it is another error's; None if there is none.
        what: templates of the message, with `HOLE` for each part that is not constant.
        fix: templates of the advice; empty if there is none.
    """

    place: str
    error: str
    code: str | None
    what: tuple[str, ...]
    fix: tuple[str, ...] = ()


@dataclass
class _Classes:
    codes: dict[str, str | None] = field(default_factory=lambda: {BASE: None})
    messages: dict[str, tuple[str, ...]] = field(default_factory=dict)


PRINTERS = ("print_error", "print_failure")
"""Functions that print an error."""

_OF_INTEREST = re.compile(rf"\b(\w*Error|{'|'.join(PRINTERS)})\(")
"""Text of a file that may make an error, or define a class of errors. Other files are not parsed, which would take seconds."""


@cache
def _nodes() -> dict[str, list[ast.AST]]:
    """Return the classes, functions and calls of each file."""
    paths = (path for package in ("bundler", "serving") for path in sorted((ROOT / package).rglob("*.py")))
    texts = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in paths}
    return {
        path: [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.Call))]
        for path, text in texts.items()
        if _OF_INTEREST.search(text)
    }


@cache
def _classes() -> _Classes:
    """Return the error classes with their own or inherited codes, and the messages that a class makes itself."""
    found = _Classes()
    definitions = [node for nodes in _nodes().values() for node in nodes if isinstance(node, ast.ClassDef)]
    before: dict[str, str | None] = {}
    while found.codes != before:
        before = dict(found.codes)
        for node in definitions:
            bases = [_name(base) for base in node.bases if _name(base) in found.codes]
            if bases and not found.codes.get(node.name):
                found.codes[node.name] = _own_code(node) or next(filter(None, map(found.codes.get, bases)), None)
            if bases and not found.messages.get(node.name):
                found.messages[node.name] = _own_messages(node)
    return found


def _own_messages(node: ast.ClassDef) -> tuple[str, ...]:
    calls = [call for call in ast.walk(node) if isinstance(call, ast.Call) and call.args]
    return tuple(
        text for call in calls if ast.unparse(call.func) == "super().__init__" for text in _templates(call.args[0], {})
    )


def _own_code(node: ast.ClassDef) -> str | None:
    for line in node.body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "code" and isinstance(line.value, ast.Constant):
            return str(line.value.value)
    return None


@cache
def sites() -> tuple[RaiseSite, ...]:
    """Return all places of both packages that make an error or print one."""
    return tuple(site for path, nodes in _nodes().items() for site in _sites_of(path, nodes))


def _sites_of(path: str, nodes: list[ast.AST]) -> Iterator[RaiseSite]:
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    for call in nodes:
        if not isinstance(call, ast.Call) or _name(call.func) not in {*_classes().codes, *PRINTERS}:
            continue
        name = _name(call.func)
        around = [node for node in functions if node.lineno <= call.lineno <= (node.end_lineno or 0)]
        local = _assigned(max(around, key=lambda node: node.lineno)) if around else {}
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        what = _templates(call.args[0], local) if call.args else ()
        fix = _templates(keywords["fix"], local) if "fix" in keywords else ()
        made = _classes().messages.get(name, ())
        yield RaiseSite(f"{path}:{call.lineno}", name, _code(name, keywords), made or what, fix)


def _code(name: str, keywords: dict[str | None, ast.expr]) -> str | None:
    given = keywords.get("code")
    if isinstance(given, ast.Constant):
        return str(given.value)
    if given is not None or None in keywords:  # `code=exc.code`, or **record of an error
        return "passed on"
    return _classes().codes.get(name)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _assigned(function: ast.FunctionDef) -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return found


def _templates(node: ast.expr, local: dict[str, list[ast.expr]]) -> tuple[str, ...]:
    """Return the texts that an expression can have; nothing if none of its text is known."""
    if isinstance(node, ast.Constant):
        return (str(node.value),)
    if isinstance(node, ast.JoinedStr):
        return ("".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values),)
    if isinstance(node, ast.BinOp):
        ends = [_templates(side, local) or (HOLE,) for side in (node.left, node.right)]
        return tuple(left + right for left in ends[0] for right in ends[1])
    if isinstance(node, ast.IfExp):
        return (*_templates(node.body, local), *_templates(node.orelse, local))
    if isinstance(node, ast.Name):
        values = [value for value in local.get(node.id, ()) if not isinstance(value, ast.Name)]
        return tuple(text for value in values for text in _templates(value, {}))
    return ()


def matches(template: str, text: str) -> bool:
    """Return whether a message can have been made from a template."""
    pattern = "".join(".*" if part == HOLE else re.escape(part) for part in re.split(f"({HOLE})", template))
    return re.fullmatch(pattern, text, re.DOTALL) is not None

"""Measures functions: how many there are, how long they are, and how many parameters they take."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from docs.house.imports import ROOT

MAX_LINES = 50
MAX_PARAMETERS = 8
HANDLERS = "bundler/converters/native/ops/"
"""Operator handlers are exempt from the limit on parameters: their signature is that of the operator's ONNX page."""


@dataclass(frozen=True)
class Function:
    """A function or method.

    Attributes:
        place: `file:line name`.
        lines: from `def` to the last line, decorators not counted.
        parameters: without `self` and `cls`.
        is_command: whether it is a command of the command line, whose parameters are its options.
    """

    place: str
    lines: int
    parameters: int
    is_command: bool = False


def sources(*folders: str) -> list[Path]:
    """Return the Python files below folders of the repository."""
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@cache
def functions(*folders: str) -> tuple[Function, ...]:
    """Return every function of the Python files below some folders of the repository."""
    return tuple(function for path in sources(*folders) for function in _functions(path))


def too_long(found: tuple[Function, ...]) -> list[Function]:
    """Return the functions over the limit of lines, longest first."""
    return sorted((f for f in found if f.lines > MAX_LINES), key=lambda f: -f.lines)


def too_wide(found: tuple[Function, ...]) -> list[Function]:
    """Return the functions over the limit of parameters, widest first; operator handlers and commands may exceed it."""
    wide = (f for f in found if f.parameters > MAX_PARAMETERS and not f.place.startswith(HANDLERS) and not f.is_command)
    return sorted(wide, key=lambda f: -f.parameters)


def _functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            place = f"{path.relative_to(ROOT).as_posix()}:{node.lineno} {node.name}"
            yield Function(place, (node.end_lineno or 0) - node.lineno + 1, _parameters(node), _is_command(path, node))


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    if names[:1] in (["self"], ["cls"]):
        names = names[1:]
    return len(names) + (node.args.vararg is not None) + (node.args.kwarg is not None)


def _is_command(path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function's parameters are a command's options: typer reads them from `Annotated[…, typer.Option(…)]`."""
    return path.parent == ROOT / "bundler" / "cli" and "typer.Option" in ast.unparse(node.args)

"""Measures functions: how many there are, how long they are, and how many parameters they have."""

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
"""The folder of the operator handlers, which may have more parameters: their signature follows the operator's ONNX page."""


@dataclass(frozen=True)
class Function:
    """A function or method.

    Attributes:
        place: `file:line name`.
        lines: the number of lines from `def` to the end, without decorators.
        parameters: the number of parameters, without `self` and `cls`.
        is_command: whether it is a command of the command line, whose parameters are its options.
    """

    place: str
    lines: int
    parameters: int
    is_command: bool = False


def sources(*folders: str) -> list[Path]:
    """Return the Python files below these folders of the repository."""
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@cache
def functions(*folders: str) -> tuple[Function, ...]:
    """Return all functions in the Python files below these folders of the repository."""
    return tuple(function for path in sources(*folders) for function in _functions(path))


def too_long(measured: tuple[Function, ...]) -> list[Function]:
    """Return the functions with more than MAX_LINES lines, longest first."""
    return sorted((f for f in measured if f.lines > MAX_LINES), key=lambda f: -f.lines)


def too_wide(measured: tuple[Function, ...]) -> list[Function]:
    """Return the functions with more than MAX_PARAMETERS parameters, without operator handlers and commands, widest first."""
    wide = (f for f in measured if f.parameters > MAX_PARAMETERS and not f.place.startswith(HANDLERS) and not f.is_command)
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
    """Return whether the parameters are options of a command, which typer reads from `Annotated[…, typer.Option(…)]`."""
    return path.parent == ROOT / "bundler" / "cli" and "typer.Option" in ast.unparse(node.args)

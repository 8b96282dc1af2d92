"""Checks of a model's sources before anything is loaded: that files exist, and that Python files define what is named.

Nothing is imported or run, so that all models of a bundle.yaml can be checked within a second.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bundler.errors import SourceError
from bundler.sources import find_source
from bundler.sources.files import find_file

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import ModelSpec

Check: TypeAlias = "tuple[tuple[str, ...], Callable[[], object]]"
"""The key of a model's section in bundle.yaml that a check is about, and the check; it raises a TfbundleError."""

_FILES = {"exported_program": "The exported program", "onnx_file": "The ONNX file", "torch_file": "The model file"}
_DYNAMIC = ("exec", "eval", "globals", "setattr", "vars")


def source_checks(model: ModelSpec, base: Path) -> Iterator[Check]:
    """Yield the checks of a model's source, architecture and weights.

    Args:
        model: the model's section of the spec.
        base: the folder that relative paths start from.
    """
    yield ("source",), lambda: _check_source(model.source, base)
    if model.architecture:
        yield ("architecture",), lambda: _check_python(model.architecture or "", base)
    if model.weights:
        yield ("weights",), lambda: find_file(model.weights or "", base, what="The weights file")


def _check_source(text: str, base: Path) -> None:
    kind = find_source(text).module
    if kind == "python_file":
        _check_python(text, base)
    elif kind in _FILES:
        find_file(text, base, what=_FILES[kind])


def _check_python(reference: str, base: Path) -> None:
    """Check that `file.py:callable` exists. A file whose names only running it can tell is not judged."""
    from bundler.spec.problems import did_you_mean

    file, _, name = reference.rpartition(":")
    if not file.endswith(".py"):
        return  # the loader says what the form is
    path = find_file(file, base, what="The Python file")
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError):
        return  # the import says where
    names = _defined_names(tree)
    first = name.partition(".")[0]
    if names is None or first in names:
        return
    public = [known for known in names if not known.startswith("_")]
    similar = did_you_mean(first, public).removeprefix("; ")
    listed = f"choose a callable of {path.name}: {', '.join(public)}" if public else f"define a callable in {path.name}"
    raise SourceError(f"{file} has no {name!r}.", where=str(path), fix=similar or listed, code="TFB2003")


def _defined_names(tree: ast.Module) -> list[str] | None:
    """Return the names that a module defines, functions and classes first; None if its text does not tell them all."""
    functions: dict[str, None] = {}
    others: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            return None
        if isinstance(node, ast.Name) and node.id in _DYNAMIC:
            return None
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if node.name == "__getattr__":
                return None
            functions[node.name] = None
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            others.update({(alias.asname or alias.name).partition(".")[0]: None for alias in node.names})
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            others[node.id] = None
    return [*functions, *others]

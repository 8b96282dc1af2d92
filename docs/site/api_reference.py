"""The pages about the Python interface: one mkdocstrings directive per public name, in the order of `__all__`."""

from __future__ import annotations

import ast
from pathlib import Path

import bundler.errors

_ROOT = Path(__file__).parents[2]

_INHERITED = "\n    options: {inherited_members: true}"
_INTRODUCTIONS = {
    "bundler": "`bundler` builds, converts and opens bundles. The keywords of `build` are the [options](../options.md) of a "
    "model. Importing it imports neither torch nor TensorFlow.",
    "bundler.mlflow": "Bundles in MLflow; [Log a bundle to MLflow](../how-to/mlflow.md) shows it in use. It needs "
    "`tfbundle[mlflow]`, and predictions `tfbundle[serve]`.",
    "bundler.ops": "What a handler of your own needs; [A custom operator](../custom-ops.md) shows it in use.",
    "serving": "`serving` talks to TensorFlow Serving and contains the embedded server. The client needs only grpcio, protobuf "
    "and NumPy.",
}


def pages() -> dict[str, str]:
    """Return the Markdown of each page by its path."""
    return {
        "reference/bundler.md": _page("bundler", "bundler/__init__.py") + "\n" + _errors(),
        "reference/mlflow.md": _page("bundler.mlflow", "bundler/mlflow/__init__.py"),
        "reference/ops.md": _page("bundler.ops", "bundler/ops.py"),
        "reference/serving.md": _page("serving", "serving/__init__.py"),
    }


def _page(module: str, file: str) -> str:
    names = [name for name in _public_names(_ROOT / file) if not name.startswith("__") and name != "errors"]
    directives = "\n\n".join(f"::: {module}.{name}{_INHERITED * name[0].isupper()}" for name in sorted(names, key=_class_last))
    return f"# {module}\n\n{_INTRODUCTIONS[module]}\n\n{directives}\n"


def _public_names(file: Path) -> list[str]:
    """Return `__all__` of a module without importing it, because bundler.ops imports TensorFlow."""
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    raise SystemExit(f"{file} has no __all__")


def _class_last(name: str) -> tuple[bool, bool, str]:
    """Sort functions first, then classes, then errors."""
    return name.endswith("Error"), name[0].isupper(), name


def _errors() -> str:
    """Return the errors with their docstrings; their bases say what they have in common."""
    module = bundler.errors
    names = [name for name, value in vars(module).items() if isinstance(value, type) and value.__module__ == module.__name__]
    directives = "\n\n".join(f"::: {module.__name__}.{name}\n    options: {{heading_level: 3}}" for name in names)
    introduction = "Every error has a message, what to do about it (`fix`), and the `exit_code` of the command."
    return f"## Errors\n\n{introduction}\n\n{directives}\n"

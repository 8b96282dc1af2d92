"""Handlers from the user's files and from installed packages (entry-point group `tfbundle.ops`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bundler.errors import SourceError, UsageError
from serving.lazy import once

if TYPE_CHECKING:
    from bundler.converters.native.registry import Handler, HandlerTable

GROUP = "tfbundle.ops"
_PREFIX = "tfbundle_ops_"
_FIX = "declare one with @op from bundler.ops; docs/custom-ops.md shows how"


@dataclass(frozen=True)
class Extension:
    """The handlers of a conversion, and the origin of those that are not built in.

    Attributes:
        handlers: the built-in ones; packages take precedence over them, and the user's files over packages.
        provenance: for bundle.json: name, size and sha256 of each file, name and version of each package.
    """

    handlers: HandlerTable
    provenance: tuple[dict[str, Any], ...] = ()


def find(files: Sequence[str], *, base: Path) -> Extension | None:
    """Load handlers like `load`. Return None, without importing anything, if neither a file nor a package has any."""
    return load(files, base=base) if files or entry_points(group=GROUP) else None


def load(files: Sequence[str], *, base: Path) -> Extension:
    """Run the files and collect the handlers they declare. Every call runs them anew.

    Args:
        files: paths of Python files. If two have a handler for one operator, the later one must declare `override=True`.
        base: folder that relative paths start from.

    Raises:
        SourceError: a file does not exist, is not Python, raises, or declares nothing; with the user's line.
        UsageError: an operator already has a handler, and the new one is not declared with `override=True`.
    """
    from bundler.sources.files import file_provenance, find_file

    extension = installed()
    for path in dict.fromkeys(find_file(text, base, what="The file with handlers") for text in files):
        handlers = extension.handlers.with_layer(_from_file(path))
        extension = Extension(handlers, (*extension.provenance, file_provenance(path)))
    return extension


def _from_file(path: Path) -> list[Handler]:
    from bundler.converters.native import declarations
    from bundler.sources.user_code import import_file

    if path.suffix != ".py":
        raise SourceError(
            f"{path.name} is not a Python file.", where=str(path), fix="give a .py file with handlers", code="TFB3101"
        )
    declarations.forget(f"{_PREFIX}{path.stem}")
    handlers = declarations.declared(import_file(path, _PREFIX))
    if not handlers:
        raise SourceError(f"{path.name} declares no handler.", where=str(path), fix=_FIX, code="TFB3101")
    return _checked(handlers, path.name)


@once
def installed() -> Extension:
    """Return the built-in handlers and those of installed packages; looked up once per process.

    An entry point names a module with handlers, or a function that declares some when it is called.

    Raises:
        SourceError: a package's handlers cannot be imported, or it has none.
        UsageError: an operator already has a handler, and that of a package is not declared with `override=True`.
    """
    from bundler.converters.native.registry import builtin

    handlers, provenance = builtin(), []
    for entry in sorted(entry_points(group=GROUP), key=lambda e: (_package(e), e.name)):
        handlers = handlers.with_layer(_from_package(entry))
        version = entry.dist.version if entry.dist else ""
        provenance.append({"package": _package(entry), "version": version, "entry_point": entry.value})
    return Extension(handlers, tuple(provenance))


def _from_package(entry: EntryPoint) -> list[Handler]:
    from bundler.converters.native import declarations
    from bundler.sources.user_code import user_code

    package = _package(entry)
    what = f"Cannot load the handlers of the package {package} ({entry.value})"
    with user_code(what, fix=f"repair or uninstall {package}"):
        target = entry.load()
        if not isinstance(target, ModuleType):
            target()
    module = target if isinstance(target, ModuleType) else _module_of(target)
    handlers = declarations.declared(module)
    if not handlers:
        raise SourceError(f"The package {package} declares no handler in {entry.value}.", fix=_FIX, code="TFB3101")
    return _checked(handlers, package)


def _module_of(function: Any) -> ModuleType:
    import sys

    return sys.modules[function.__module__]


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.module


def _checked(handlers: Sequence[Handler], origin: str) -> list[Handler]:
    """Return the handlers with their origin.

    Raises:
        UsageError: a handler would never be called.
    """
    from bundler.converters.native.registry import defined_at
    from bundler.graph.expand import EXPANDED

    for handler in handlers:
        place = replace(handler, origin=origin).place
        if not handler.domain and not _in_onnx(handler.op_type):
            raise UsageError(
                f"{place} handles {handler.op_type}, which is not an ONNX operator.", where=defined_at(handler),
                fix=f'give its domain: @op("{handler.op_type}", domain="…")',
                code="TFB3101",
            )  # fmt: skip
        if (handler.domain, handler.op_type) in EXPANDED:
            raise UsageError(
                f"{place} handles {handler.op_type}, which never reaches a handler: it is replaced by the graph that ONNX "
                "defines for it.", where=defined_at(handler), fix="remove the handler",
                code="TFB3101",
            )  # fmt: skip
    return [replace(handler, origin=origin) for handler in handlers]


def _in_onnx(op_type: str) -> bool:
    import onnx

    return onnx.defs.has(op_type, "")

"""Handlers that are not ours: of the user's own files, and of installed packages (entry-point group `tfbundle.ops`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bundler.errors import SourceError, UsageError

if TYPE_CHECKING:
    from bundler.converters.native.registry import Handler, HandlerTable

GROUP = "tfbundle.ops"
_PREFIX = "tfbundle_ops_"
_FIX = "declare one with @op from bundler.ops; docs/custom-ops.md shows how"


@dataclass(frozen=True)
class Extension:
    """The handlers of a conversion, and where those that are not ours came from.

    Attributes:
        handlers: ours, those of packages before them, those of the user's files before all.
        provenance: for bundle.json: name, size and sha256 of each file, name and version of each package.
    """

    handlers: HandlerTable
    provenance: tuple[dict[str, Any], ...] = ()


def find(files: Sequence[str], *, base: Path) -> Extension | None:
    """As `load`; None, and nothing is imported, where neither a file nor a package brings a handler."""
    return load(files, base=base) if files or entry_points(group=GROUP) else None


def load(files: Sequence[str], *, base: Path) -> Extension:
    """Run the files and take the handlers they declare; each file anew, whatever an earlier build has run.

    Args:
        files: paths of Python files; of two files with a handler for one operator, the later one must say `override`.
        base: folder that relative paths start from.

    Raises:
        SourceError: a file is not there, is no Python, raises, or declares nothing; with the user's line.
        UsageError: a handler for an operator that has one, without `override`.
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
        raise SourceError(f"{path.name} is no Python file.", where=str(path), fix="give a .py file with handlers")
    declarations.forget(f"{_PREFIX}{path.stem}")
    handlers = declarations.declared(import_file(path, _PREFIX))
    if not handlers:
        raise SourceError(f"{path.name} declares no handler.", where=str(path), fix=_FIX)
    return _checked(handlers, path.name)


@lru_cache(maxsize=1)
def installed() -> Extension:
    """Our handlers and those of installed packages; looked up once a process.

    An entry point names a module whose handlers are taken, or a function that declares some when it is called.

    Raises:
        SourceError: a package's handlers cannot be imported, or there are none.
        UsageError: a package has a handler for an operator that has one, without `override`.
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
    what = f"The handlers that the package {package} brings ({entry.value}) cannot be had"
    with user_code(what, fix=f"repair or uninstall {package}"):
        target = entry.load()
        if not isinstance(target, ModuleType):
            target()
    module = target if isinstance(target, ModuleType) else _module_of(target)
    handlers = declarations.declared(module)
    if not handlers:
        raise SourceError(f"The package {package} declares no handler in {entry.value}.", fix=_FIX)
    return _checked(handlers, package)


def _module_of(function: Any) -> ModuleType:
    import sys

    return sys.modules[function.__module__]


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.module


def _checked(handlers: Sequence[Handler], origin: str) -> list[Handler]:
    """The handlers with their origin.

    Raises:
        UsageError: one would never be called.
    """
    from bundler.converters.native.registry import defined_at
    from bundler.graph.expand import EXPANDED

    for handler in handlers:
        place = replace(handler, origin=origin).place
        if not handler.domain and not _in_onnx(handler.op_type):
            raise UsageError(
                f"{place} handles {handler.op_type}, which is no operator of ONNX.", where=defined_at(handler),
                fix=f'name its domain: @op("{handler.op_type}", domain="…")',
            )  # fmt: skip
        if (handler.domain, handler.op_type) in EXPANDED:
            raise UsageError(
                f"{place} handles {handler.op_type}, which never reaches a handler: it becomes the graph that ONNX "
                "defines for it.", where=defined_at(handler), fix="take the handler away",
            )  # fmt: skip
    return [replace(handler, origin=origin) for handler in handlers]


def _in_onnx(op_type: str) -> bool:
    import onnx

    return onnx.defs.has(op_type, "")

"""TensorFlow as the command line imports it: without what it writes to stderr meanwhile (absl, before any log level holds),
and without Keras, which nothing here uses and which takes a quarter of the time."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from bundler.quiet import captured_stderr


class _QuietFinder(MetaPathFinder):
    """Finds one package as Python would, however often it is asked, and silences the import of it."""

    def __init__(self, package: str) -> None:
        self.package = package
        self._asks_others = False

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self.package or self._asks_others:
            return None
        self._asks_others = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._asks_others = False
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def quietly(module: ModuleType) -> None:
            with captured_stderr(), _left_for_later("keras"):
                execute(module)

        spec.loader.exec_module = quietly  # type: ignore[method-assign]
        return spec


@contextmanager
def _left_for_later(package: str) -> Iterator[None]:
    """An import of the package fails meanwhile, which TensorFlow takes for a missing one; `tf.keras` imports it when used."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


def import_quietly(package: str) -> None:
    """Silence the first import of a package, whenever it comes."""
    if package not in sys.modules and not any(isinstance(f, _QuietFinder) for f in sys.meta_path):
        sys.meta_path.insert(0, _QuietFinder(package))

"""Imports of expensive packages in tfbundle's own processes.

TensorFlow imports Keras, which imports scikit-learn, SciPy and matplotlib. That is a third of its import time, and nothing in
tfbundle uses them. tfbundle's own processes import TensorFlow without Keras; `tf.keras` and `import keras` still work in them
and import Keras at that point.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

ContextFactory = Callable[[], AbstractContextManager[object]]


class _Finder(MetaPathFinder):
    """Finds one package as Python would, and runs its import inside a context."""

    def __init__(self, package: str, context: ContextFactory) -> None:
        self.package = package
        self.context = context
        self._is_delegating = False

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self.package or self._is_delegating:
            return None
        self._is_delegating = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._is_delegating = False
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_in_context(module: ModuleType) -> None:
            with self.context():
                execute(module)

        spec.loader.exec_module = execute_in_context  # type: ignore[method-assign]
        return spec


def import_inside(package: str, context: ContextFactory) -> None:
    """Run the first import of a package, whenever it happens, inside a context; several contexts nest."""
    known = any(isinstance(f, _Finder) and (f.package, f.context) == (package, context) for f in sys.meta_path)
    if package not in sys.modules and not known:
        sys.meta_path.insert(0, _Finder(package, context))


def leave_keras_out() -> None:
    """Let this process import TensorFlow without Keras."""
    import_inside("tensorflow", _without_keras)


@contextmanager
def _without_keras() -> Iterator[None]:
    """Make imports of Keras fail: TensorFlow then treats it as missing, and `tf.keras` imports it on first use."""
    if "keras" in sys.modules:
        yield
        return
    sys.modules["keras"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["keras"]

"""Imports of packages that are dear, as processes of our own make them.

TensorFlow imports Keras, and that scikit-learn, SciPy and matplotlib: a third of its time, for what nothing here uses. A
process of ours leaves them out; `tf.keras` and `import keras` still work in it, and import them then.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Around = Callable[[], AbstractContextManager[object]]


class _Finder(MetaPathFinder):
    """Finds one package as Python would, however often it is asked, and runs its import inside a context."""

    def __init__(self, package: str, around: Around) -> None:
        self.package = package
        self.around = around
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

        def inside(module: ModuleType) -> None:
            with self.around():
                execute(module)

        spec.loader.exec_module = inside  # type: ignore[method-assign]
        return spec


def import_inside(package: str, around: Around) -> None:
    """Have the first import of a package, whenever it comes, run inside a context; several contexts nest."""
    known = any(isinstance(f, _Finder) and (f.package, f.around) == (package, around) for f in sys.meta_path)
    if package not in sys.modules and not known:
        sys.meta_path.insert(0, _Finder(package, around))


def leave_keras_out() -> None:
    """Have TensorFlow imported without Keras in this process."""
    import_inside("tensorflow", _without_keras)


@contextmanager
def _without_keras() -> Iterator[None]:
    """An import of it fails meanwhile, which TensorFlow takes for a package that is missing; `tf.keras` imports it when used."""
    if "keras" in sys.modules:
        yield
        return
    sys.modules["keras"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["keras"]

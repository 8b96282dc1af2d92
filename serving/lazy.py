"""What is made on first use: public names of a package, and values that all threads share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache, update_wrapper
from importlib import import_module
from threading import RLock
from typing import Any, Generic, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


class once(Generic[P, T]):  # noqa: N801 - a decorator
    """Decorate a function that makes something: it runs once per set of arguments, also for threads that call it at once.

    `functools.cache` alone lets each of these threads make its own, and returns different objects to them. An exception is
    not kept: the next call tries again.
    """

    def __init__(self, make: Callable[P, T]) -> None:
        self._cached: Any = cache(make)
        self._making = RLock()
        update_wrapper(self, make)

    def __call__(self, *args: P.args, **options: P.kwargs) -> T:
        """Return what was made for these arguments, or make it."""
        with self._making:
            return cast(T, self._cached(*args, **options))

    def cache_clear(self) -> None:
        """Forget what was made."""
        with self._making:
            self._cached.cache_clear()


def lazy_attributes(
    package: str, modules: Mapping[str, str], extras: Mapping[str, tuple[str, str]] | None = None
) -> Callable[[str], Any]:
    """Return a module-level `__getattr__` (PEP 562) for a package.

    Args:
        package: full name of the package, its `__name__`.
        modules: public name -> name of the module inside the package that defines it.
        extras: public name -> the extra of tfbundle that it needs, and what it is, for the error if that is not installed.
    """
    needs = extras or {}

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if name in needs:
            # Imported here, as the smoke test in a bundle has only the modules that a client needs.
            from serving.extras import require

            require(*needs[name])
        value = getattr(import_module(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load

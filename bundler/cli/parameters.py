"""Commands whose parameters are the fields of a dataclass."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

Options = TypeVar("Options")


def takes(options: type[Options]) -> Callable[[Callable[[Options], None]], Callable[..., None]]:
    """Return a decorator that gives a command one parameter per field of `options`, as typer reads them.

    Args:
        options: a dataclass whose fields are annotated as typer's parameters are.
    """

    def decorate(function: Callable[[Options], None]) -> Callable[..., None]:
        def command(**values: Any) -> None:
            function(options(**values))

        command.__name__, command.__doc__, command.__module__ = function.__name__, function.__doc__, function.__module__
        command.__signature__ = inspect.Signature(_parameters(options))  # type: ignore[attr-defined]
        return command

    return decorate


def _parameters(options: type[Any]) -> list[inspect.Parameter]:
    types = get_type_hints(options, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
            annotation=types[field.name],
        )
        # Options that several commands share are keyword-only; they come last in the help.
        for field in sorted(dataclasses.fields(options), key=lambda field: bool(field.kw_only))
    ]

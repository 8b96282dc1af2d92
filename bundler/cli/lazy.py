"""A command whose parameters are made when they are first needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import typer
from typer.main import get_command

from bundler.cli.help import HelpCommand


class LazyCommand(HelpCommand):
    """A command that `tfbundle --help` lists without importing what its parameters are made from."""

    def make_function(self) -> Callable[..., None]:
        """Return the command's function; its signature has all parameters."""
        raise NotImplementedError

    @cached_property
    def _command(self) -> Any:
        application = typer.Typer(add_completion=False)
        application.command()(self.make_function())
        return get_command(application)

    @property
    def params(self) -> list[Any]:
        """The parameters that typer makes from the function's signature."""
        params: list[Any] = self._command.params
        return params

    @params.setter
    def params(self, placeholder: list[Any]) -> None:
        """Ignore the parameters of the function that the application registers."""

    @property
    def callback(self) -> Callable[..., Any] | None:
        """The function as typer calls it."""
        callback: Callable[..., Any] | None = self._command.callback
        return callback

    @callback.setter
    def callback(self, placeholder: Callable[..., Any] | None) -> None:
        """Ignore the function that the application registers."""

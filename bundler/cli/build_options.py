"""The options of `tfbundle build` that set fields of bundle.yaml, made from bundler.spec.options.

Values stay text here, so that the models of bundler.spec reject a wrong one with the same message as in bundle.yaml.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.markup import escape

from bundler.spec.options import BuildOption, build_options


def option_parameters() -> Iterator[inspect.Parameter]:
    """Yield a keyword parameter, as typer reads it, for each option that has a flag."""
    for option in build_options():
        if option.flag:
            yield inspect.Parameter(
                option.name, inspect.Parameter.KEYWORD_ONLY, default=_default(option), annotation=_annotation(option)
            )


def given_options(context: typer.Context, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are on the command line, by field, as `make_request` takes them.

    Args:
        context: knows which parameters are on the command line.
        values: the value of every option, by field; those not on the command line have their defaults.

    Raises:
        UsageError: if a list, a size or a signature does not have its form.
    """
    given = [option for option in build_options() if option.flag and is_given(context, option.name)]
    return {option.name: (option.field.option.parse or _unchanged)(values[option.name]) for option in given}


def with_bare_values(arguments: Sequence[str]) -> Iterator[str]:
    """Yield command-line arguments in which every flag has its value: `--fast-path` alone becomes `--fast-path=float32`.

    A flag that may stand alone takes the argument behind it if that is a plain word, which a source never is: it has a dot, a
    colon or a slash.
    """
    bare = {option.flag: option.field.option.bare for option in build_options() if option.field.option.bare}
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        yield f"{argument}={bare[argument]}" if argument in bare and not following.isalnum() else argument


def is_given(context: typer.Context, parameter: str) -> bool:
    """Return whether a parameter is on the command line, and not at its default."""
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def _unchanged(value: Any) -> Any:
    return value


def _default(option: BuildOption) -> Any:
    if option.field.is_flag:
        return bool(option.field.default)
    return None if option.field.default in (None, [], {}) else str(option.field.default)


def _annotation(option: BuildOption) -> Any:
    marker = option.field.option
    if option.field.is_flag:
        negative = f"/--no-{option.flag.removeprefix('--')}" if option.field.default else ""
        parameter = typer.Option(f"{option.flag}{negative}", help=_help(option), rich_help_panel=option.panel)
        return Annotated[bool, parameter]
    parameter = typer.Option(
        option.flag,
        help=_help(option),
        metavar=_metavar(option),
        rich_help_panel=option.panel,
        autocompletion=_completion(option),
    )
    return Annotated[list[str] | None if marker.repeat else str | None, parameter]


def _help(option: BuildOption) -> str:
    field = option.field
    text = option.description
    if field.choices and field.option.commas:
        text += f" A list of {', '.join(field.choices)}."
    return escape(text + (" Can be repeated." if field.option.repeat else ""))


def _metavar(option: BuildOption) -> str | None:
    field = option.field
    if field.option.form:
        return f"<{field.option.form}>"
    if field.choices:
        return f"<{'|'.join(field.choices)}>"
    if field.is_number:
        return f"<number> [{field.interval}]" if field.interval else "<number>"
    return None


def _completion(option: BuildOption) -> Callable[[str], list[str]] | None:
    choices = option.field.choices or option.field.option.known
    if not choices:
        return None

    def complete(incomplete: str) -> list[str]:
        return complete_list(choices, incomplete) if option.field.option.commas else list(choices)

    return complete


def complete_list(choices: tuple[str, ...], incomplete: str) -> list[str]:
    """Return the completions of the last part of a comma-separated list; parts before it are not offered again."""
    before, comma, _ = incomplete.rpartition(",")
    return [before + comma + choice for choice in choices if choice not in before.split(",")]

"""Messages for values that a spec rejects: the option, the value, the allowed values, and a suggestion.

bundle.yaml, the command line and `bundler.build` share the models of bundler.spec, and so these messages.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from bundler.spec.fields import INT32, INT64, Place, SpecField, find_place, section_of, type_text

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_SHOWN = 80  # characters of a rejected value
_LISTED = 20  # known keys, where none is similar to an unknown one


@dataclass(frozen=True)
class Problem:
    """One rejected value.

    Attributes:
        path: its key in bundle.yaml, e.g. models.0.tflite.io_type; empty for the whole file.
        label: that key without the model's part, e.g. tflite.io_type; empty if the message names the key itself.
        message: what is wrong, and what is allowed.
        keys: the parts of `path`.
        is_key: whether the key itself is wrong, and not its value.
    """

    path: str
    label: str
    message: str
    keys: tuple[int | str, ...] = ()
    is_key: bool = False

    def __str__(self) -> str:
        return f"{self.label}: {self.message}" if self.label else self.message


def find_problems(exc: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Return a problem for each value that the validation of `model` rejected.

    The branches of a union reject a value separately; they become one problem.
    """
    problems: dict[str, Problem] = {}
    for error in exc.errors():
        place = find_place(model, error["loc"])
        path = ".".join(map(str, place.keys))
        if error["type"] == "extra_forbidden":
            section = section_of(find_place(model, place.keys[:-1]).annotation)
            known = section.model_fields if section else ()
            problems[path] = Problem(path, "", unknown_key(str(place.keys[-1]), known), tuple(place.keys), is_key=True)
        else:
            message = _wrong_type(error["input"], place) if path in problems else _message(error, place)
            whole = "" if error["type"] == "value_error" else path  # a model's own rules name the keys themselves
            problems[path] = Problem(path, _label(place.keys) or whole, message, tuple(place.keys))
    return list(problems.values())


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Return the message for an unknown key of bundle.yaml or an unknown keyword."""
    names = list(known)
    listed = f"; the keys are {', '.join(names)}" if len(names) <= _LISTED else ""
    return f"unknown key {show(key)}{did_you_mean(key, names) or listed}"


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the most similar of the known words, or an empty text."""
    similar = difflib.get_close_matches(text.lower(), list(known), n=1, cutoff=0.5)
    return f"; did you mean {similar[0]!r}?" if similar else ""


def _label(keys: Sequence[int | str]) -> str:
    """Return the key without the model that it is in: the same for bundle.yaml, the command line and Python."""
    return ".".join(map(str, keys[2:] if keys[:1] == ("models",) and len(keys) > 1 else keys))


def _message(error: ErrorDetails, place: Place) -> str:
    kind, value, context, field = error["type"], error["input"], error.get("ctx", {}), place.field
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        return f"{show(value)} is not one of {', '.join(choices)}{did_you_mean(show(value), choices)}"
    if kind == "missing":
        return f"a value is required{_example(field)}"
    if kind == "value_error":
        text = error["msg"].removeprefix("Value error, ")
        return text if isinstance(value, (dict, list, tuple)) or show(value) in text else f"{text} (not {show(value)})"
    if kind == "string_pattern_mismatch":
        return f"{show(value)} does not match the pattern {context['pattern']}{_example(field)}"
    if kind == "string_too_long":
        return f"{show(value)} is longer than {context['max_length']} characters"
    if kind.startswith(("greater_than", "less_than", "finite_number")):
        return f"{show(value)} is out of range; it must be {_bounds(error, field)}"
    return _wrong_type(value, place)


def _bounds(error: ErrorDetails, field: SpecField | None) -> str:
    limit = error.get("ctx", {}).get("le")
    if limit in (INT32, INT64):
        lower = f"{field.bounds} and " if field and field.bounds else ""
        return f"{lower}at most {limit}"
    return (field and field.bounds) or error["msg"].removeprefix("Input should be ")


def _example(field: SpecField | None) -> str:
    example = field and next(iter((*field.examples, field.default)), None)
    return f"; e.g. {example}" if example else ""


def _wrong_type(value: object, place: Place) -> str:
    choices = place.field.choices if place.field and isinstance(value, str) else ()
    return f"{show(value)} is not {type_text(place.annotation)}{did_you_mean(show(value), choices)}"


def show(value: object) -> str:
    """Return a rejected value as YAML and Python users know it, cut to a readable length."""
    words: dict[Any, str] = {None: "null", True: "true", False: "false"}
    try:
        text = words[value] if value is None or isinstance(value, bool) else repr(value)
    except ValueError:  # Python prints at most 4,300 digits
        return "a number with thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def common_code(error: ValidationError) -> str:
    """Return the code of the error that every problem comes from, such as a wrong declaration of an input; TFB1103 otherwise."""
    causes = (getattr(details.get("ctx", {}).get("error"), "__cause__", None) for details in error.errors())
    codes = {getattr(cause, "code", "") or "TFB1103" for cause in causes}
    return codes.pop() if len(codes) == 1 else "TFB1103"

"""Parsers for the values that a command line gives as text: lists, sizes, shapes and signatures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bundler.errors import UsageError


def parse_names(text: str) -> tuple[str, ...]:
    """Split a comma-separated list: `a, b` -> (a, b)."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_number(text: str) -> int | float | str:
    """Read a number as YAML does; return other text as it is, for the model's validator to reject."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def parse_dims(text: str) -> dict[str, int | float | str]:
    """Read sizes by dim: `batch=1,seq=64` -> {batch: 1, seq: 64}. The model's validator checks the sizes.

    Raises:
        UsageError: if the text does not have this form.
    """
    sizes = {}
    for part in parse_names(text):
        name, equals, size = part.partition("=")
        if not name.isidentifier() or not equals:
            raise UsageError(
                f"The size {part!r} does not have the form name=number.",
                fix="write it like batch=1,seq=64",
                code="TFB1002",
            )
        sizes[name] = parse_number(size)
    return sizes


def parse_counts(text: str) -> tuple[int, ...]:
    """Read a comma-separated list of positive whole numbers: `1,4,16` -> (1, 4, 16).

    Raises:
        UsageError: if a part is not a whole number of 1 or more.
    """
    parts = parse_names(text)
    if not parts or not all(part.isdecimal() and int(part) for part in parts):
        raise UsageError(
            f"{text!r} is not a list of whole numbers of 1 or more.", fix="write it like 1,4,16", code="TFB1002"
        )
    return tuple(map(int, parts))


def parse_numbers(text: str) -> tuple[float, ...]:
    """Read a comma-separated list of finite numbers: `0.5, 1` -> (0.5, 1.0).

    Raises:
        UsageError: if a part is not a finite number.
    """
    try:
        numbers = tuple(float(part) for part in parse_names(text))
    except ValueError:
        numbers = (math.nan,)
    if not all(math.isfinite(number) for number in numbers):
        raise UsageError(f"{text!r} is not a list of numbers.", fix="write it like 123.7,116.3,103.5", code="TFB1002")
    return numbers


def parse_shapes(texts: Sequence[str]) -> dict[str, dict[str, int | float | str]]:
    """Read signatures with sizes of their own: `long:seq=256` -> {long: {seq: 256}}.

    Raises:
        UsageError: if a text does not have this form.
    """
    shapes = {}
    for text in texts:
        name, colon, sizes = text.partition(":")
        if not colon or not name.isidentifier() or not sizes:
            raise UsageError(
                f"The shape {text!r} does not have the form NAME:dim=number.",
                fix="write it like long:seq=256",
                code="TFB1002",
            )
        shapes[name] = parse_dims(sizes)
    return shapes


def parse_signatures(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Read signatures and their methods: `embed=encode` -> {embed: {method: encode}}.

    A name alone is the method's name too.

    Raises:
        UsageError: if a text does not have this form.
    """
    signatures = {}
    for text in texts:
        name, _, method = text.partition("=")
        if not name.isidentifier() or not (method or name).isidentifier():
            raise UsageError(
                f"The signature {text!r} does not have the form NAME=METHOD.",
                fix="write it like embed=encode",
                code="TFB1002",
            )
        signatures[name] = {"method": method or name}
    return signatures

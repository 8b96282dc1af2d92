"""Attribute values of operators in a short form that JSON can hold and that can be compared and shown."""

from __future__ import annotations

import string
from collections.abc import Iterable
from typing import Any

from serving.protocol.messages import enum

_CODES = string.digits + string.ascii_letters
"""One character per number of the enum tensorflow.DataType."""


def type_code(number: int) -> str:
    """Return the character for a number of tensorflow.DataType; `?` for one of a newer TensorFlow, which no release has."""
    return _CODES[number] if 0 <= number < len(_CODES) else "?"


def type_codes(numbers: Iterable[int]) -> str:
    """Return the characters for numbers of tensorflow.DataType, sorted."""
    return "".join(sorted(map(type_code, numbers)))


def type_name(number: int) -> str:
    """Return the name of a tensorflow.DataType as Python users know it, such as `float32`."""
    value = enum("tensorflow.DataType").values_by_number.get(number)
    name = value.name.removeprefix("DT_").lower() if value else f"type {number}"
    return {"float": "float32", "double": "float64", "half": "float16"}.get(name, name)


def plain_value(value: Any) -> Any:
    """Return a `tensorflow.AttrValue` message as plain data.

    Types become `{"type": code}`, lists become lists, and shapes, tensors and functions, whose content nobody compares with that
    of another release, become the hexadecimal digits of their bytes.
    """
    kind = value.WhichOneof("value")
    if kind == "list":
        lists = {field.name: items for field, items in value.list.ListFields()}
        return [_plain(name, item) for name, items in lists.items() for item in items]
    return None if kind is None else _plain(kind, getattr(value, kind))


def _plain(kind: str, item: Any) -> Any:
    if kind in ("i", "b"):
        return item
    if kind == "f":
        return float(f"{item:.8g}") if item == item and abs(item) != float("inf") else str(item)
    if kind == "s":
        return item.decode("utf-8", "backslashreplace")
    if kind == "type":
        return {"type": type_code(item)}
    if kind == "placeholder":
        return {"placeholder": item}
    return {kind: item.SerializeToString(deterministic=True).hex()}

"""JSON text as the model server writes it: strings, and the values that its error messages quote (RapidJSON 1.1)."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from serving.protocol.grisu import shortest_digits
from serving.protocol.json_object import members

DEBUG_LIMIT = 256
"""Bytes after which a value that an error message quotes is cut off (kMaxJsonDebugStringBytes)."""

_CONTROL = {chr(code): f"\\u{code:04X}" for code in range(0x20)} | {
    "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\",
}  # fmt: skip
_SPECIAL = re.compile(r'["\\\x00-\x1f]')


def quote(text: str) -> str:
    """Return a text as a JSON string, in which only the characters are escaped that must be."""
    return '"' + _SPECIAL.sub(lambda match: _CONTROL[match.group()], text) + '"'


def type_name(value: object) -> str:
    """Return RapidJSON's name of a value's type, which error texts use."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "True" if value else "False"
    for kind, name in ((str, "String"), (list, "Array"), (dict, "Object")):
        if isinstance(value, kind):
            return name
    return "Number"


def is_number(value: object) -> bool:
    """Return whether a value is a JSON number; booleans are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


class _FullError(Exception):
    """The quoted text has reached its limit, or the next number cannot be written as JSON."""


class _DebugWriter:
    """RapidJSON's PrettyWriter with arrays on one line; it stops between two values once the limit is reached."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.size = 0
        self.levels: list[list[Any]] = []  # [is an array, values so far]

    def write(self, value: object) -> None:
        """Write a value and everything in it."""
        if isinstance(value, dict):
            self._open("{", is_array=False)
            for key, member in members(value):
                self._event(quote(key))
                self.write(member)
            self._close("}")
        elif isinstance(value, list):
            self._open("[", is_array=True)
            for element in value:
                self.write(element)
            self._close("]")
        else:
            self._event(_scalar_text(value))

    def _put(self, text: str) -> None:
        self.parts.append(text)
        self.size += len(text.encode("utf-8", "surrogateescape"))

    def _event(self, text: str | None) -> None:
        if self.size >= DEBUG_LIMIT:
            raise _FullError
        self._prefix()
        if text is None:
            raise _FullError
        self._put(text)

    def _prefix(self) -> None:
        if not self.levels:
            return
        is_array, count = self.levels[-1]
        self.levels[-1][1] += 1
        if is_array:
            self._put(", " if count else "")
        elif count % 2:
            self._put(": ")
        else:
            self._put((",\n" if count else "\n") + "    " * len(self.levels))

    def _open(self, bracket: str, *, is_array: bool) -> None:
        self._event(bracket)
        self.levels.append([is_array, 0])

    def _close(self, bracket: str) -> None:
        if self.size >= DEBUG_LIMIT:
            raise _FullError
        is_array, count = self.levels.pop()
        self._put("" if is_array or not count else "\n" + "    " * len(self.levels))
        self._put(bracket)


def debug_text(value: object) -> str:
    """Return a JSON value as error messages quote it: indented, arrays on one line, cut off after 256 bytes."""
    writer = _DebugWriter()
    try:
        writer.write(value)
    except _FullError:
        pass
    except RecursionError:
        writer.parts.append("…")
    return "".join(writer.parts)


def _scalar_text(value: object) -> str | None:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return str(value)
    assert isinstance(value, int | float)
    return _double_text(float(value))


def _double_text(value: float) -> str | None:
    """Return a double as RapidJSON prints it; None for NaN and infinities.

    The digits are Grisu2's; up to 21 of them are written out, longer numbers have an exponent (`1e30`).
    """
    if value != value or value in (float("inf"), float("-inf")):
        return None
    if value == 0:
        return "-0.0" if str(value).startswith("-") else "0.0"
    digits, power = shortest_digits(abs(value))
    point = len(digits) + power
    sign = "-" if value < 0 else ""
    if len(digits) <= point <= 21:
        return f"{sign}{digits.ljust(point, '0')}.0"
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1}"


_BASE64 = re.compile(r"[A-Za-z0-9+/ \t\r\n\f\v]*[=. \t\r\n\f\v]*")


def decode_base64(text: str) -> bytes | None:
    """Decode base64 as the server does; None if the text is not valid.

    The alphabet is the standard one. Padding (`=` or `.`) may be missing but not incomplete, and white space is ignored.
    """
    if not _BASE64.fullmatch(text):
        return None
    packed = re.sub(r"\s", "", text)
    bare = packed.rstrip("=.")
    padding = len(packed) - len(bare)
    if len(bare) % 4 == 1 or padding not in (0, -len(bare) % 4):
        return None
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4))
    except binascii.Error:
        return None

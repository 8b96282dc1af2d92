"""Reading JSON as the model server does: by the rules of RapidJSON 1.1, with its error texts and offsets.

`NaN`, `Infinity`, `-Infinity` and `Inf` stand bare; text after the root is ignored; a byte order mark is skipped; an
object keeps all members of equal keys, of which a look-up finds the first; a number over 1.8e308 is an error; bytes that
are not UTF-8 pass through (strings here hold them as surrogate escapes).

Python's own parser does the work where it agrees. `_Parser`, which follows RapidJSON's states, takes over for texts that
fail or that the two read differently, so that errors and offsets are the server's.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from serving.protocol.json_object import JsonObject
from serving.protocol.json_text import debug_text
from serving.protocol.status import Code, StatusError, invalid_argument

# What the two parsers read differently: exponents that may overflow, integers over 64 bits, half of a
# surrogate pair.
_ODD = re.compile(
    rb"[eE][+-]?[0-9]{3}|[1-9][0-9]{19}|[0-9]{300}"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)
_BOM = b"\xef\xbb\xbf"


class _RepeatedKeyError(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _RepeatedKeyError
    return made


_EXACT = 16
"""Characters of a fraction whose digits 53 bits hold."""
_LONG = re.compile(rb"[0-9.]{%d}|[0-9][eE][0-9+-]" % (_EXACT + 1))
"""What a body has if a number in it may be read otherwise than by correct rounding."""
_WHOLE = 18
"""Digits that 63 bits hold."""


def _normal_precision(text: str) -> float:
    """A double as RapidJSON reads it: what 53 bits and one division hold is exact, the rest an ulp or so off."""
    if len(text) <= _EXACT and "e" not in text and "E" not in text:
        return float(text)
    whole, _, fraction = text.lstrip("-").partition(".")
    if len(whole) > _WHOLE or not fraction.isdecimal():
        return float(_Parser(text.encode())._number())
    significand, used = _with_fraction(whole, fraction)
    value = _scaled(significand, -used)
    return -value if text.startswith("-") else value


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
_SERVERS_DOUBLES = json.JSONDecoder(object_pairs_hook=_object, parse_float=_normal_precision)


def has_long_numbers(body: bytes) -> bool:
    """Whether `parse_object` may read other doubles with `servers_doubles`."""
    return _LONG.search(body) is not None


def parse_object(body: bytes, *, servers_doubles: bool = False) -> dict[str, Any]:
    """The object that a request's body holds; numbers are int or float, strings may hold surrogate escapes.

    Args:
        servers_doubles: round doubles as the server does, which is slower; else correctly. Narrowed to float32 they are
            the same.

    Raises:
        StatusError: INVALID_ARGUMENT with the server's text: not JSON, or not an object.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    value = _quickly(body, _SERVERS_DOUBLES if servers_doubles else _DECODER)
    if value is None:
        value = _Parser(body).parse()
    if not isinstance(value, dict):
        raise invalid_argument(f"JSON Value: {debug_text(value)} Is not object")
    return value


def _quickly(body: bytes, decoder: json.JSONDecoder) -> dict[str, Any] | None:
    if _ODD.search(body):
        return None
    text = body.removeprefix(_BOM).decode("utf-8", "surrogateescape").lstrip(" \t\r\n")
    try:
        value, _ = decoder.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


class _ParseError(StatusError):
    def __init__(self, what: str, offset: int) -> None:
        super().__init__(Code.INVALID_ARGUMENT, f"JSON Parse error: {what} at offset: {offset}")


_SPACE = re.compile(rb"[ \t\r\n]*")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_ESCAPES = {ord(key): value for key, value in zip('"/\\bfnrt', b'"/\\\b\f\n\r\t', strict=True)}
_HEX4 = re.compile(rb"[0-9a-fA-F]{4}")

_NO_NAME = "Missing a name for object member."
_NO_COLON = "Missing a colon after a name of object member."
_NO_OBJECT_COMMA = "Missing a comma or '}' after an object member."
_NO_ARRAY_COMMA = "Missing a comma or ']' after an array element."
_INVALID = "Invalid value."
_BAD_ESCAPE = "Invalid escape character in string."
_BAD_SURROGATE = "The surrogate pair in string is invalid."


class _Parser:
    """RapidJSON's iterative parser: no recursion, so depth is no limit."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0
        for char in _BOM:  # each of the three is skipped where it stands, the others there or not
            self.at += self._peek() == char

    def parse(self) -> Any:
        self._skip()
        if self._peek() in b"\0]},:":
            raise _ParseError("The document is empty.", self.at)
        root: list[Any] = []
        stack: list[list[Any] | JsonObject] = []
        opened = self._value(root, stack)
        while stack:
            self._skip()
            here = stack[-1]
            if isinstance(here, list):
                opened = self._element(here, stack, opened)
            else:
                opened = self._member(here, stack, opened)
        return root[0]

    def _element(self, here: list[Any], stack: list[Any], opened: bool) -> bool:
        """One step in an array: its next element or its end. Whether a container was opened."""
        if not opened:
            if self._peek() not in b",]":
                raise _ParseError(_NO_ARRAY_COMMA, self.at)
            if self._take() == ord("]"):
                stack.pop()
                return False
            self._skip()
        elif self._peek() == ord("]"):
            self.at += 1
            stack.pop()
            return False
        return self._value(here, stack)

    def _member(self, here: JsonObject, stack: list[Any], opened: bool) -> bool:
        """One step in an object: its next member or its end. Whether a container was opened."""
        if not opened:
            if self._peek() not in b",}":
                raise _ParseError(_NO_OBJECT_COMMA, self.at)
            if self._take() == ord("}"):
                stack.pop()
                return False
            self._skip()
        elif self._peek() == ord("}"):
            self.at += 1
            stack.pop()
            return False
        if self._peek() != ord('"'):
            raise _ParseError(_NO_NAME, self.at)
        key = self._string()
        self._skip()
        if self._peek() != ord(":"):
            raise _ParseError(_NO_COLON, self.at)
        self.at += 1
        self._skip()
        holder: list[Any] = []
        opened = self._value(holder, stack)
        here.add(key, holder[0])
        return opened

    def _value(self, into: list[Any], stack: list[Any]) -> bool:
        """Append the value that begins here; a container is empty yet and goes on the stack."""
        first = self._peek()
        if first == 0:
            raise _ParseError(_INVALID, self.at)
        if first in b"[{":
            self.at += 1
            made: Any = [] if first == ord("[") else JsonObject()
            into.append(made)
            stack.append(made)
            return True
        if first in b"]},:":
            raise _ParseError(_INVALID, self.at)
        if first == ord('"'):
            into.append(self._string())
        elif first in _LITERALS:
            into.append(self._literal(*_LITERALS[first]))
        else:
            into.append(self._number())
        return False

    def _literal(self, text: bytes, value: bool | None) -> bool | None:
        self.at += 1
        for char in text[1:]:
            if self._peek() != char:
                raise _ParseError(_INVALID, self.at)
            self.at += 1
        return value

    def _string(self) -> str:
        self.at += 1
        parts: list[bytes] = []
        while True:
            plain = _PLAIN.match(self.body, self.at)
            assert plain is not None
            parts.append(plain.group())
            self.at = plain.end()
            char = self._peek()
            if char == ord('"'):
                self.at += 1
                return b"".join(parts).decode("utf-8", "surrogateescape")
            if char == ord("\\"):
                parts.append(self._escape())
            elif char == 0:
                raise _ParseError("Missing a closing quotation mark in string.", self.at)
            else:
                raise _ParseError(_BAD_ESCAPE, self.at)

    def _escape(self) -> bytes:
        start = self.at
        self.at += 1
        char = self._peek()
        if char in _ESCAPES:
            self.at += 1
            return bytes([_ESCAPES[char]])
        if char != ord("u"):
            raise _ParseError(_BAD_ESCAPE, start)
        self.at += 1
        point = self._hex4(start)
        if 0xD800 <= point <= 0xDBFF:
            if self.body[self.at : self.at + 2] != b"\\u":
                raise _ParseError(_BAD_SURROGATE, start)
            self.at += 2
            low = self._hex4(start)
            if not 0xDC00 <= low <= 0xDFFF:
                raise _ParseError(_BAD_SURROGATE, start)
            point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00)
        return chr(point).encode("utf-8", "surrogatepass")

    def _hex4(self, start: int) -> int:
        digits = _HEX4.match(self.body, self.at)
        if digits is None:
            raise _ParseError("Incorrect hex digit after \\u escape in string.", start)
        self.at += 4
        return int(digits.group(), 16)

    def _number(self) -> int | float:
        return _Number(self).parse()

    def _skip(self) -> None:
        space = _SPACE.match(self.body, self.at)
        assert space is not None
        self.at = space.end()

    def _peek(self) -> int:
        """The byte here; 0 at the end, as a NUL byte ends the text too."""
        return self.body[self.at] if self.at < len(self.body) else 0

    def _take(self) -> int:
        char = self._peek()
        self.at += 1
        return char


_LITERALS: dict[int, tuple[bytes, bool | None]] = {
    ord("n"): (b"null", None),
    ord("t"): (b"true", True),
    ord("f"): (b"false", False),
}
_DIGITS = re.compile(rb"[0-9]*")
_LONGEST = 20
"""Digits of 2^64 - 1."""


class _Number:
    """A number: an integer where 64 bits hold it, else a double, rounded as RapidJSON does (normal precision)."""

    def __init__(self, parser: _Parser) -> None:
        self.parser = parser
        self.start = parser.at

    def parse(self) -> int | float:
        parser = self.parser
        minus = self._consume(b"-")
        first = parser._peek()
        if first in b"IN":
            return self._named(minus)
        digits = b"0" if first == ord("0") else self._digits()
        if not digits:
            raise _ParseError(_INVALID, parser.at)
        if first == ord("0"):
            parser.at += 1
        integer = int(digits[: _LONGEST + 1])
        whole = integer if -(2**63) <= (-integer if minus else integer) < 2**64 else None
        significand, scale = self._fraction(digits, whole)
        exponent = self._exponent(scale)
        if exponent is None and scale is None:
            if whole is not None:
                return -whole if minus else whole
            return -significand if minus else significand
        value = _scaled(significand, (exponent or 0) + (scale or 0))
        return -value if minus else value

    def _named(self, minus: bool) -> float:
        parser = self.parser
        if self._consume(b"N"):
            self._expect(b"aN")
            return float("nan")
        self._expect(b"Inf")
        if parser._peek() == ord("i"):
            self._expect(b"inity")
        return float("-inf") if minus else float("inf")

    def _expect(self, text: bytes) -> None:
        for char in text:
            if self.parser._peek() != char:
                raise _ParseError(_INVALID, self.parser.at)
            self.parser.at += 1

    def _fraction(self, digits: bytes, whole: int | None) -> tuple[float, int | None]:
        """The digits read as a double, and the power of ten it is short of (None: there is no fraction)."""
        value = float(whole) if whole is not None else self._long_integer(digits)
        if not self._consume(b"."):
            return value, None
        fraction = self._digits()
        if not fraction:
            raise _ParseError("Miss fraction part in number.", self.parser.at)
        if whole is None:  # it has more digits than count already
            return value, 0
        value, used = _with_fraction(digits.decode(), fraction.decode())
        return value, -used

    def _long_integer(self, digits: bytes) -> float:
        """An integer over 64 bits, digit by digit in double precision."""
        head = _LONGEST if int(digits[:_LONGEST]) < 2**64 else _LONGEST - 1
        value = float(int(digits[:head]))
        for digit in digits[head:]:
            if value >= 1.7976931348623157e307:
                raise _ParseError("Number too big to be stored in double.", self.start)
            value = value * 10 + (digit - 48)
        return value

    def _exponent(self, scale: int | None) -> int | None:
        if not (self._consume(b"e") or self._consume(b"E")):
            return None
        minus = not self._consume(b"+") and self._consume(b"-")
        digits = self._digits()
        if not digits:
            raise _ParseError("Miss exponent in number.", self.parser.at)
        # Only a thousand-odd matters; a longer one is as good as it is too big.
        value = int(digits.lstrip(b"0")[:10] or b"0")
        if not minus and value > 308 - (scale or 0):
            raise _ParseError("Number too big to be stored in double.", self.start)
        return -value if minus else value

    def _digits(self) -> bytes:
        found = _DIGITS.match(self.parser.body, self.parser.at)
        assert found is not None
        self.parser.at = found.end()
        return found.group()

    def _consume(self, char: bytes) -> bool:
        if self.parser._peek() != char[0]:
            return False
        self.parser.at += 1
        return True


def _with_fraction(whole: str, fraction: str) -> tuple[float, int]:
    """The digits of a number read as a double, and how many of the fraction's are in it: as an integer up to the first that
    53 bits do not hold, from there on in double precision up to 17 significant ones (the first before the point besides).

    Args:
        whole: of at most 64 bits, `0` or without a leading zero.
    """
    digits = whole + fraction
    zeros = len(digits) - len(digits.lstrip("0"))
    end = max(len(whole), zeros + 16)
    if end == zeros + 16 and int(digits[zeros:end] or "0") < 2**53:
        end += 1
    last = zeros + 17 + (whole != "0")
    value = float(int(digits[zeros:end] or "0"))
    for digit in digits[end:last]:
        value = value * 10.0 + int(digit)
    return value, min(max(end, last), len(digits)) - len(whole)


def _scaled(significand: float, power: int) -> float:
    """significand x 10^power in at most two roundings (internal/strtod.h, StrtodNormalPrecision)."""
    if power < -308:
        return _fast_path(_fast_path(significand, -308), power + 308)
    return _fast_path(significand, power)


_TENS = tuple(float(f"1e{power}") for power in range(309))


def _fast_path(significand: float, power: int) -> float:
    if power < -308:
        return 0.0
    ten = _TENS[abs(power)]
    value = significand * ten if power >= 0 else significand / ten
    return value if value >= sys.float_info.min else 0.0  # the server's threads flush denormals

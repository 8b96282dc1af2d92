"""Read JSON as the model server does: by the rules of RapidJSON 1.1, with its error texts and offsets.

- `NaN`, `Infinity`, `-Infinity` and `Inf` are numbers; a number over 1.8e308 is an error.
- Text after the root is ignored, and so is a byte order mark.
- An object keeps all members with equal keys, of which a look-up finds the first.
- Bytes that are not UTF-8 are kept; Python's strings hold them as surrogate escapes.

Python's own parser is used where both agree. `_Parser`, which follows RapidJSON's states, takes over for texts that fail or
that the two read differently, so that errors and offsets are the server's.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import numpy as np

from serving.protocol.json_object import JsonObject
from serving.protocol.json_text import debug_text
from serving.protocol.status import Code, StatusError, invalid_argument

# What the two parsers read differently: exponents that may overflow, integers over 64 bits, half of a surrogate pair.
_EXPONENT = re.compile(rb"[eE][+-]?[0-9]{3}")
_DIGIT_RUN = re.compile(rb"[1-9][0-9]{19}|[0-9](?<![0-9]{2})[0-9]{299}")
_RUN = b"0" * 20
_NO_ZERO = re.compile(rb"[^0]")
_HALF_PAIR = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)
_ALL_ZERO = bytes.maketrans(b"123456789", b"0" * 9)
_ALL_ZERO_AND_POINT = bytes.maketrans(b"123456789.", b"0" * 10)
"""Make digits alike, so that a run of them is found by a search for zeros, ten times as fast as with a pattern."""
_BOM = b"\xef\xbb\xbf"


class _RepeatedKeyError(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _RepeatedKeyError
    return members


_EXACT = 16
"""Length of the longest text of a fraction whose digits always fit into 53 bits."""
_LONG = b"0" * (_EXACT + 1)
_SCIENTIFIC = re.compile(rb"[eE](?<=[0-9].)[0-9+-]")
_WHOLE = 18
"""Number of decimal digits that always fit into 63 bits."""


def _normal_precision(text: str) -> float:
    """Return a double as RapidJSON reads it: exact if 53 bits and one division suffice, else off by about one ulp."""
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
    """Return whether `servers_doubles` may change the doubles that `parse_object` reads: RapidJSON may misround long ones."""
    return _LONG in body.translate(_ALL_ZERO_AND_POINT) or _SCIENTIFIC.search(body) is not None


def parse_object(body: bytes, *, servers_doubles: bool = False, max_nesting: int | None = None) -> dict[str, Any]:
    """Parse the JSON object in a request's body.

    Args:
        body: the body of the request.
        servers_doubles: round doubles as the server does, which is slower, instead of correctly. Converted to float32, both
            are the same.
        max_nesting: most arrays and objects inside each other; None for no limit, as in the server. Each level costs the
            parsers about as much as a hundred bytes of numbers.

    Returns:
        The members by key; a `JsonObject` if keys may repeat. Numbers are int or float, and strings may have surrogate
        escapes.

    Raises:
        StatusError: INVALID_ARGUMENT: the body is not a JSON object, with the server's text, or it exceeds `max_nesting`.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    value = None
    if max_nesting is None or not _is_deeper(body, max_nesting):
        value = _parse_quickly(body, _SERVERS_DOUBLES if servers_doubles else _DECODER)
    if value is None:
        value = _Parser(body, max_nesting).parse()
    if not isinstance(value, dict):
        raise invalid_argument(f"JSON Value: {debug_text(value)} Is not object")
    return value


def _is_ambiguous(body: bytes) -> bool:
    """Return whether Python's parser may read a body otherwise than RapidJSON, or much more slowly."""
    if _EXPONENT.search(body) or (b"\\u" in body and _HALF_PAIR.search(body)):
        return True
    return _has_digit_run(body)


def _has_digit_run(body: bytes) -> bool:
    """Return whether `_DIGIT_RUN` is in a body. It searches long runs of digits only: fractions have some, most bytes none."""
    alike = body.translate(_ALL_ZERO)
    start = alike.find(_RUN)
    while start >= 0:
        rest = _NO_ZERO.search(alike, start)
        end = rest.start() if rest else len(alike)
        if _DIGIT_RUN.search(body, start, end):
            return True
        start = alike.find(_RUN, end)
    return False


def _parse_quickly(body: bytes, decoder: json.JSONDecoder) -> dict[str, Any] | None:
    """Parse with Python's parser; None if `_Parser` has to read the body."""
    if _is_ambiguous(body):
        return None
    text = body.removeprefix(_BOM).decode("utf-8", "surrogateescape").lstrip(" \t\r\n")
    try:
        value, _ = decoder.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


_BLOCK = 2**18
"""Bytes of a body whose brackets are counted at once."""


def _is_deeper(body: bytes, limit: int) -> bool:
    """Return whether a body has more than `limit` open brackets at one place, without those in strings.

    The count is exact for JSON, takes about a millisecond per MB and stops at the first such place.
    """
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    depth = quotes = 0
    for start in range(0, len(body), _BLOCK):
        block = np.frombuffer(body, np.uint8, min(_BLOCK, len(body) - start), start)
        folded = block & 0xDF  # { and } become [ and ]
        found = block[(folded == ord("[")) | (folded == ord("]")) | (block == ord('"'))]
        is_quote = found == ord('"')
        outside = ((np.cumsum(is_quote, dtype=np.int64) + quotes) & 1 == 0) & ~is_quote
        steps = np.where((found[outside] & 0xDF) == ord("["), 1, -1)
        if steps.size:
            depths = np.cumsum(steps) + depth
            if depths.max() > limit:
                return True
            depth = int(depths[-1])
        quotes += int(np.count_nonzero(is_quote))
    return False


class _ParseError(StatusError):
    def __init__(self, what: str, offset: int) -> None:
        super().__init__(Code.INVALID_ARGUMENT, f"JSON Parse error: {what} at offset: {offset}")


_SPACE = re.compile(rb"[ \t\r\n]*")
_OPENINGS = re.compile(rb'(?:[ \t\r\n]*(?:\[+|\{[ \t\r\n]*"[^"\\\x00-\x1f]*"[ \t\r\n]*:)){1,1000}')
"""Matches the beginnings of up to 1,000 values inside each other."""
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
    """RapidJSON's iterative parser, which can read any depth because it does not recurse."""

    def __init__(self, body: bytes, max_nesting: int | None = None) -> None:
        self.body = body
        self.max_nesting = max_nesting
        self.at = 0
        for char in _BOM:  # RapidJSON skips each of the three bytes, whether or not the others are there
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
            container = stack[-1]
            if isinstance(container, list):
                opened = self._element(container, stack, opened)
            else:
                opened = self._member(container, stack, opened)
        return root[0]

    def _element(self, array: list[Any], stack: list[Any], opened: bool) -> bool:
        """Read the next element of an array or its end; return whether a container was opened."""
        if self._ends(b"]", stack, opened, _NO_ARRAY_COMMA):
            return False
        return self._value(array, stack)

    def _member(self, members: JsonObject, stack: list[Any], opened: bool) -> bool:
        """Read the next member of an object or its end; return whether a container was opened."""
        if self._ends(b"}", stack, opened, _NO_OBJECT_COMMA):
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
        members.add(key, holder[0])
        return opened

    def _ends(self, bracket: bytes, stack: list[Any], opened: bool, missing_comma: str) -> bool:
        """Read the comma before the next item, unless the container was just opened, or the closing bracket.

        Return whether the container has ended; it is then taken off the stack.
        """
        if not opened and self._peek() not in b"," + bracket:
            raise _ParseError(missing_comma, self.at)
        if self._peek() == ord(bracket):
            self.at += 1
            stack.pop()
            return True
        if not opened:
            self.at += 1
            self._skip()
        return False

    def _value(self, target: list[Any], stack: list[Any]) -> bool:
        """Append the value that begins here; a container is put on the stack, still empty. Return whether it is one."""
        first = self._peek()
        if first == 0:
            raise _ParseError(_INVALID, self.at)
        if first in b"[{":
            if len(stack) == self.max_nesting:
                raise self._too_deep()
            self.at += 1
            container: Any = [] if first == ord("[") else JsonObject()
            target.append(container)
            stack.append(container)
            return True
        if first in b"]},:":
            raise _ParseError(_INVALID, self.at)
        if first == ord('"'):
            target.append(self._string())
        elif first in _LITERALS:
            target.append(self._literal(*_LITERALS[first]))
        else:
            target.append(self._number())
        return False

    def _too_deep(self) -> StatusError:
        """Return the error for a value below the limit: the server's own if nothing but such values follows."""
        at = self.at
        while openings := _OPENINGS.match(self.body, self.at):
            self.at = openings.end()
        self._skip()
        if self._peek() == 0:
            return _ParseError(_INVALID, self.at)
        return invalid_argument(
            f"The JSON body has more than {self.max_nesting} arrays and objects inside each other at offset: {at}; "
            "--max_nesting sets this limit."
        )

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
        """Return the byte here; 0 at the end, since a NUL byte also ends the text."""
        return self.body[self.at] if self.at < len(self.body) else 0


_LITERALS: dict[int, tuple[bytes, bool | None]] = {
    ord("n"): (b"null", None),
    ord("t"): (b"true", True),
    ord("f"): (b"false", False),
}
_DIGITS = re.compile(rb"[0-9]*")
_LONGEST = 20
"""Number of decimal digits of 2^64 - 1."""


class _Number:
    """Reads a number: an integer if 64 bits can hold it, else a double, rounded as RapidJSON does (normal precision)."""

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
        """Return the digits read as a double and the power of ten to multiply it by (None if there is no fraction)."""
        value = float(whole) if whole is not None else self._long_integer(digits)
        if not self._consume(b"."):
            return value, None
        fraction = self._digits()
        if not fraction:
            raise _ParseError("Miss fraction part in number.", self.parser.at)
        if whole is None:  # the digits before the point already exceed the precision
            return value, 0
        value, used = _with_fraction(digits.decode(), fraction.decode())
        return value, -used

    def _long_integer(self, digits: bytes) -> float:
        """Return an integer over 64 bits, read digit by digit in double precision."""
        exact = _LONGEST if int(digits[:_LONGEST]) < 2**64 else _LONGEST - 1
        value = float(int(digits[:exact]))
        for digit in digits[exact:]:
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
        # Exponents beyond about a thousand all have the same effect, so ten digits are enough.
        value = int(digits.lstrip(b"0")[:10] or b"0")
        if not minus and value > 308 - (scale or 0):
            raise _ParseError("Number too big to be stored in double.", self.start)
        return -value if minus else value

    def _digits(self) -> bytes:
        digits = _DIGITS.match(self.parser.body, self.parser.at)
        assert digits is not None
        self.parser.at = digits.end()
        return digits.group()

    def _consume(self, char: bytes) -> bool:
        if self.parser._peek() != char[0]:
            return False
        self.parser.at += 1
        return True


def _with_fraction(whole: str, fraction: str) -> tuple[float, int]:
    """Return the digits of a number read as a double, and how many digits of the fraction it includes.

    The digits are read as an integer as long as 53 bits can hold it, then in double precision up to 17 significant digits
    (18 if the first digit is before the point).

    Args:
        whole: digits before the point, at most 64 bits, `0` or without a leading zero.
        fraction: digits after the point.
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
    """Return significand x 10^power with at most two roundings (internal/strtod.h, StrtodNormalPrecision)."""
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

"""Grisu2 (F. Loitsch, "Printing floating-point numbers quickly and accurately with integers", PLDI 2010).

The algorithm prints a double so that it reads back as the same double. It uses 64-bit integers and does not always find the
fewest or the nearest digits. RapidJSON writes doubles with it, so error messages that quote one need exactly the same steps.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

_HIDDEN = 1 << 52
_WORD = (1 << 64) - 1
_FIRST_POWER, _POWER_STEP = -348, 8


class _Float(NamedTuple):
    """The number f x 2^e, with f in 64 bits."""

    f: int
    e: int

    def normalized(self) -> _Float:
        shift = 64 - self.f.bit_length()
        return _Float(self.f << shift, self.e - shift)

    def times(self, other: _Float) -> _Float:
        return _Float((self.f * other.f + (1 << 63)) >> 64, self.e + other.e + 64)


def shortest_digits(value: float) -> tuple[str, int]:
    """Return the decimal digits of a positive, finite double, and the power of ten of the last digit."""
    exact = _decompose(value)
    upper = _Float((exact.f << 1) + 1, exact.e - 1).normalized()
    if exact.f == _HIDDEN:  # the next smaller double is only half as far away as the next larger one
        lower = _Float((exact.f << 2) - 1, exact.e - 2)
    else:
        lower = _Float((exact.f << 1) - 1, exact.e - 1)
    lower = _Float(lower.f << (lower.e - upper.e), upper.e)
    power, exponent = _power_for(upper.e)
    scaled, high = exact.normalized().times(power), upper.times(power)
    top, bottom = high.f - 1, lower.times(power).f + 1
    digits, kappa = _generate(top - scaled.f, top, -high.e, top - bottom)
    return digits, kappa - exponent


def _decompose(value: float) -> _Float:
    _, exponent = math.frexp(value)
    exponent = max(exponent - 53, -1074)
    return _Float(int(math.ldexp(value, -exponent)), exponent)


def _power_for(exponent: int) -> tuple[_Float, int]:
    """Return the power of ten that scales a number of this binary exponent to about 2^-60, and its decimal exponent."""
    needed = math.ceil((-61 - exponent) * 0.30102999566398114 + 347)
    decimal = _FIRST_POWER + _POWER_STEP * ((needed >> 3) + 1)
    return _power(decimal), decimal


@cache
def _power(decimal: int) -> _Float:
    """Return 10^decimal, rounded to 64 bits."""
    if decimal >= 0:
        exact, exponent = 10**decimal, 0
    else:
        exponent = -(64 + 4 * -decimal)
        exact = (1 << -exponent) // 10**-decimal
    surplus = exact.bit_length() - 64
    if surplus <= 0:
        return _Float(exact << -surplus, exponent + surplus)
    return _Float((exact + (1 << (surplus - 1))) >> surplus, exponent + surplus)


def _generate(distance: int, high: int, bits: int, delta: int) -> tuple[str, int]:
    """Return the digits of a number between `high - delta` and `high`, and the power of ten of the last digit.

    All numbers are fixed-point numbers with `bits` binary digits after the point.

    Args:
        distance: distance of the number to print from `high`.
        high: upper end of the interval of numbers that read back as the same double.
        bits: binary digits after the point.
        delta: width of the interval.
    """
    unit = 1 << bits
    whole, fraction = high >> bits, high & (unit - 1)
    digits: list[int] = []
    for kappa in reversed(range(len(str(whole)))):
        digit, whole = divmod(whole, 10**kappa)
        digits.append(digit)
        rest = (whole << bits) + fraction
        if rest <= delta:
            return _nearer(digits, delta, rest, 10**kappa << bits, distance), kappa
    while True:
        fraction, delta, kappa = fraction * 10, delta * 10 & _WORD, kappa - 1
        digits.append(fraction >> bits)
        fraction &= unit - 1
        if fraction < delta:
            # RapidJSON's table of powers ends at 10^9.
            scale = 10**-kappa if -kappa < 9 else 0
            return _nearer(digits, delta, fraction, unit, distance * scale & _WORD), kappa


def _nearer(digits: list[int], delta: int, rest: int, unit: int, distance: int) -> str:
    """Return the digits, after decreasing the last one as long as that brings them nearer to the number to print."""
    while rest < distance and delta - rest >= unit and (
        rest + unit < distance or distance - rest > rest + unit - distance
    ):  # fmt: skip
        digits[-1] -= 1
        rest += unit
    return "".join(map(str, digits)).lstrip("0")

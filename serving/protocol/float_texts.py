"""Floats as the model server prints them in JSON (tensorflow_serving/util/json_tensor.cc).

A number has six digits if these read back as the same number, else 9 (float) or 17 (double). Whole numbers end with `.0`; `NaN`,
`Infinity` and `-Infinity` have no quotes. No JSON library prints such numbers: all print the fewest digits that read back.

Many floats are printed at once, by arithmetic on arrays of doubles. It is exact where it cannot be wrong: if a product is so near
to the middle between two results that the rounding of doubles could decide, Python's own formatting takes over.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serving.protocol.tensors import Array

_LEAST = 800
"""Arrays with fewer values are printed one by one, which is then faster."""
_DIGITS = 9
_WIDTH = 16
"""The longest text of a float: a sign, 9 digits, a point and an exponent."""
_SMALLEST, _LARGEST = -37, 37
"""Decimal exponents that are printed at once: those of normal floats, nearly."""
_POWERS = np.array([float(f"1e{power}") for power in range(-50, 51)])
_FOUR = np.frombuffer("".join(f"{number:04}" for number in range(10_000)).encode(), np.uint32)
"""The texts of four digits, each as one number, which is faster to copy."""
_ENDING = np.array([4 if number == 0 else len(text := str(number)) - len(text.rstrip("0")) for number in range(10_000)])
"""The zeros at the end of four digits."""
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def decimal_texts(array: Array) -> list[str]:
    """Return the texts of all values of a float32 or float64 array, in order."""
    flat = array.ravel()
    if flat.size < _LEAST:
        return _one_by_one(flat)
    return _floats(flat) if flat.dtype == np.float32 else _doubles(flat)


def _one_by_one(flat: Array) -> list[str]:
    values: Sequence[float] = flat.tolist()
    texts = [f"{value:.6g}" for value in values]
    with np.errstate(over="ignore"):
        reread = np.array(texts, np.float64).astype(flat.dtype)
    digits = _DIGITS if flat.dtype == np.float32 else 17
    for index in np.flatnonzero(reread != flat).tolist():
        texts[index] = f"{values[index]:.{digits}g}"
    return [_decimal_text(text) for text in texts]


def _decimal_text(text: str) -> str:
    if "." in text or "e" in text:
        return text
    return _NOT_FINITE.get(text) or f"{text}.0"


def _doubles(flat: Array) -> list[str]:
    """Print doubles, with six digits only where these may read back."""
    texts = [_decimal_text(f"{value:.17g}") for value in flat.tolist()]
    with np.errstate(all="ignore"):
        sizes = np.abs(flat)
        exponents = _exponents(sizes)
        near = np.rint(sizes * _power(5 - exponents)) * _power(exponents - 5)
        long = np.abs(near - sizes) > 1e-14 * sizes
    short = np.flatnonzero(~long)
    for index, text in zip(short.tolist(), _one_by_one(flat[short]), strict=True):
        texts[index] = text
    return texts


def _floats(flat: Array) -> list[str]:
    with np.errstate(all="ignore"):
        sizes = np.abs(flat.astype(np.float64))
        exponents = _exponents(sizes)
        scaled = sizes * _power(_DIGITS - 1 - exponents)
        near = np.rint(sizes * _power(5 - exponents))
        shorter = near * _power(exponents - 5)
        low, high = ((shorter * factor).astype(np.float32) for factor in (1 - 1e-15, 1 + 1e-15))
        short = low == np.abs(flat)
        exact = (low == high) & (np.abs(scaled - np.floor(scaled) - 0.5) > 1e-5)
        numbers = np.where(short, near * 1000, np.rint(scaled))
    regular = exact & (numbers >= 1e8) & (numbers < 1e9) & (sizes >= 1e-36) & (sizes < 1e36)
    texts = np.zeros(flat.size, f"S{_WIDTH}")
    chosen = np.flatnonzero(regular)
    keys = ((exponents[chosen] - _SMALLEST) * 4 + short[chosen] * 2 + (flat[chosen] < 0)).astype(np.int16)
    order = np.argsort(keys, kind="stable")
    for part in np.split(chosen[order], np.flatnonzero(np.diff(keys[order])) + 1) if chosen.size else ():
        first = part[0]
        is_short, is_negative = bool(short[first]), bool(flat[first] < 0)
        texts[part] = _printed(numbers[part].astype(np.int32), int(exponents[first]), short=is_short, negative=is_negative)
    joined = b" ".join(texts.tolist()).decode("ascii").split(" ")
    rest = np.flatnonzero(~regular)
    for index, text in zip(rest.tolist(), _one_by_one(flat[rest]), strict=True):
        joined[index] = text
    return joined


def _exponents(sizes: Array) -> Array:
    """Return the decimal exponents of positive numbers; those of others have no meaning."""
    guess = np.floor(np.log10(np.where(sizes > 0, sizes, 1.0)))
    guess = np.where(np.isfinite(guess), guess, 0).clip(_SMALLEST, _LARGEST).astype(np.int64)
    guess += sizes >= _power(guess + 1)
    guess -= sizes < _power(guess)
    exponents: Array = guess.clip(_SMALLEST, _LARGEST)
    return exponents


def _power(exponents: Array) -> Array:
    powers: Array = _POWERS[exponents + 50]
    return powers


def _digits(numbers: Array) -> tuple[Array, Array]:
    """Return the nine digits of integers as ASCII, uint8 [numbers, 9], and how many of them are before zeros at the end."""
    high, middle, low = numbers // 100_000_000, numbers // 10_000 % 10_000, numbers % 10_000
    digits = _FOUR[np.stack([high, middle, low], axis=1)].view(np.uint8)[:, 3:]
    return digits, _DIGITS - np.where(low != 0, _ENDING[low], 4 + _ENDING[middle])


def _printed(numbers: Array, exponent: int, *, short: bool, negative: bool) -> Array:
    """Return the texts of numbers with one decimal exponent and one sign, as `%g` prints them with six or nine digits."""
    count, start = len(numbers), int(negative)
    digits, used = _digits(numbers)
    text = np.zeros((count, _WIDTH), np.uint8)
    text[:, :start] = ord("-")
    if -4 <= exponent < (6 if short else _DIGITS):
        ends = _put_fixed(text[:, start:], digits, used, exponent) + start
        text *= np.arange(_WIDTH) < ends[:, None]
    else:
        text[:, start] = digits[:, 0]
        text[:, start + 1] = ord(".")
        text[:, start + 2 : start + 1 + _DIGITS] = digits[:, 1:]
        ends = start + np.where(used > 1, used + 1, 1)
        text *= np.arange(_WIDTH) < ends[:, None]
        tail = np.frombuffer(f"e{exponent:+03}".encode(), np.uint8)
        text[np.arange(count)[:, None], ends[:, None] + np.arange(len(tail))] = tail
    return text.view(f"S{_WIDTH}").ravel()


def _put_fixed(text: Array, digits: Array, used: Array, exponent: int) -> Array:
    """Put numbers without an exponent into `text`, uint8 [numbers, width], and return the lengths of their texts."""
    if exponent < 0:
        before = 1 - exponent
        text[:, :before] = np.frombuffer(b"0." + b"0" * (before - 2), np.uint8)
        text[:, before : before + _DIGITS] = digits
        return before + used
    whole = exponent + 1
    text[:, :whole] = digits[:, :whole]
    text[:, whole] = ord(".")
    text[:, whole + 1] = ord("0")
    text[:, whole + 1 : _DIGITS + 1] = digits[:, whole:]
    lengths: Array = whole + 1 + np.maximum(used - whole, 1)
    return lengths

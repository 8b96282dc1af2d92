"""Sizes that are known at build time or only at run time, and arithmetic with them.

A size is an int, or a `Dim` where it is dynamic. Sums and products of sizes are folded as far as they are known.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import tensorflow as tf

from bundler.converters.native.tensors import Tensor, TensorCache


class Dim:
    """A dynamic size.

    Args:
        name: ONNX's dim_param, or an expression over such names. Dims of the same name are equal.
        make: computes the size as an int64 scalar.
    """

    __slots__ = ("_make", "_tensors", "name")

    def __init__(self, name: str, make: Callable[[], Tensor]) -> None:
        self.name = name
        self._make = make
        self._tensors: TensorCache[None] = TensorCache()

    @property
    def tensor(self) -> Tensor:
        """The size as an int64 scalar, computed once per graph."""
        return self._tensors.get(None, self._make)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Dim({self.name})"


Element: TypeAlias = "int | Dim"


def tensor_of(element: Element) -> Tensor:
    """Return a size as an int64 scalar."""
    return element.tensor if isinstance(element, Dim) else tf.constant(element, tf.int64)


def tensor_shape(elements: Sequence[Element], *, infer: bool = False) -> Any:
    """Return sizes in the form tf.reshape takes: a list with -1 for a single dynamic size, otherwise a tensor.

    TensorFlow cannot infer a size beside one of 0.

    Args:
        elements: the sizes.
        infer: let a size that is a quotient be inferred in any case, for TFLite, which does not divide int64.
    """
    dynamic = [e for e in elements if isinstance(e, Dim) or e == -1]
    if not dynamic or (len(dynamic) == 1 and 0 not in elements):
        return [-1 if isinstance(e, Dim) else e for e in elements]
    inferred = [e for e in dynamic if isinstance(e, Dim) and "/" in e.name]
    if not infer or len(inferred) != 1 or -1 in elements or 0 in elements:
        return tf.stack([tensor_of(e) for e in elements])
    return tf.stack([tf.constant(-1, tf.int64) if e is inferred[0] else tensor_of(e) for e in elements])


def full_shape(elements: Sequence[Element]) -> Any:
    """Return sizes in the form tf.fill and tf.broadcast_to take: without -1."""
    if all(isinstance(e, int) for e in elements):
        return list(elements)
    return tf.stack([tensor_of(e) for e in elements])


def product(elements: Sequence[Element]) -> Element:
    """Return the product of sizes."""
    result: Element = 1
    for element in elements:
        result = multiply(result, element)
    return result


def multiply(a: Element, b: Element) -> Element:
    """Return a * b."""
    return 0 if a == 0 or b == 0 else _commutative("*", a, b, 1, operator.mul, tf.multiply)


def add(a: Element, b: Element) -> Element:
    """Return a + b."""
    return _commutative("+", a, b, 0, operator.add, tf.add)


def subtract(a: Element, b: Element) -> Element:
    """Return a - b."""
    if isinstance(a, int) and isinstance(b, int):
        return a - b
    if a == b:
        return 0
    return a if b == 0 else _expression("-", a, b, tf.subtract)


def divide(a: Element, b: Element) -> Element:
    """Return a / b rounded towards zero, as ONNX divides integers."""
    if isinstance(a, int) and isinstance(b, int):
        return int(a / b) if abs(a) < 2**52 else (abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1)
    if a == b:
        return 1
    return a if b == 1 else _expression("/", a, b, _quotient)


_IN_INT32: ContextVar[bool] = ContextVar("in_int32", default=False)


@contextmanager
def dividing_in_int32(wanted: bool) -> Iterator[None]:
    """Let `divide` compute in int32 in the block if wanted: TFLite does not divide int64."""
    token = _IN_INT32.set(wanted)
    try:
        yield
    finally:
        _IN_INT32.reset(token)


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    if not _IN_INT32.get():
        return tf.truncatediv(a, b)
    dividend, divisor = tf.cast(a, tf.int32), tf.cast(b, tf.int32)
    floor = tf.math.floordiv(dividend, divisor)
    is_negative = tf.not_equal(dividend < 0, divisor < 0)
    was_rounded_down = tf.logical_and(is_negative, tf.not_equal(floor * divisor, dividend))
    return tf.cast(floor + tf.cast(was_rounded_down, tf.int32), tf.int64)


def from_sizes(name: str, compute: Callable[..., Any], *sizes: Element) -> Element:
    """Return `compute(*sizes)`: an int if all sizes are known, otherwise a Dim that computes it from int64 scalars.

    Args:
        name: what is computed, with everything but the sizes that the result depends on.
        compute: arithmetic with `+ - * //` and the functions of this module that take both ints and tensors.
        sizes: its arguments.
    """
    if not any(isinstance(size, Dim) for size in sizes):
        return int(compute(*sizes))
    return Dim(f"{name}({','.join(map(_text, sizes))})", lambda: compute(*map(tensor_of, sizes)))


def larger(a: Any, b: Any) -> Any:
    """Return the larger one of two numbers, ints or tensors."""
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else tf.maximum(a, b)


def pad_pairs(pairs: Sequence[Sequence[Element]]) -> Any:
    """Return pads before and after each axis in the form tf.pad takes."""
    if all(isinstance(element, int) for pair in pairs for element in pair):
        return [list(pair) for pair in pairs]
    return tf.stack([tf.stack([tensor_of(element) for element in pair]) for pair in pairs])


def _commutative(
    sign: str, a: Element, b: Element, neutral: int, exact: Callable[[int, int], int], compute: Callable[..., Tensor]
) -> Element:
    if isinstance(a, int) and isinstance(b, int):
        return exact(a, b)
    if a == neutral:
        return b
    return a if b == neutral else _expression(sign, a, b, compute)


def _expression(sign: str, a: Element, b: Element, compute: Callable[..., Tensor]) -> Dim:
    return Dim(f"({_text(a)}{sign}{_text(b)})", lambda: compute(tensor_of(a), tensor_of(b)))


def _text(element: Element) -> str:
    return element.name if isinstance(element, Dim) else str(element)

"""Checks of the arguments that a user gives the client; every error names the argument and what is allowed."""

from __future__ import annotations

import math
import operator
import reprlib
import ssl
from collections.abc import Mapping, Sequence, Sized
from numbers import Real
from typing import Any, cast

import numpy as np

from serving.errors import TargetError, TensorError
from serving.protocol.tensors import Array, array_dtype_name, as_array, bfloat16_from_float32, dtype_number
from serving.texts import is_utf8

MAX_SECONDS = 1_000_000
"""Longest time-out: eleven days, which every system call can wait."""

MAX_VERSION = 2**63 - 1

_MAX_ELEMENTS = 2**31 - 1
"""More elements than any request can carry: a message has at most 2 GiB."""


def seconds(value: object, name: str = "timeout", *, or_zero: bool = False) -> float:
    """Return a time-out as a float.

    Raises:
        TargetError: it is not a number of seconds between 0 and `MAX_SECONDS`; 0 itself is only allowed with `or_zero`.
    """
    if not isinstance(value, Real | np.number) or isinstance(value, bool | np.bool_ | np.complexfloating):
        raise _wrong(name, value, "is not a number of seconds")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (0 < number <= MAX_SECONDS or (number == 0 and or_zero)):
        raise _wrong(name, value, f"is not between 0 and {MAX_SECONDS} seconds")
    return number


def text(value: object, name: str) -> str:
    """Return a name as a str.

    Raises:
        TargetError: it is not a str, or UTF-8 cannot hold it.
    """
    if not isinstance(value, str):
        raise _wrong(name, value, "is not a str")
    if not is_utf8(value):
        raise _wrong(name, value, "cannot be written as UTF-8: it has a lone surrogate")
    return str(value)


def integer(value: object, name: str, least: int, most: int) -> int:
    """Return an int within limits; NumPy's integers are ints too, booleans are not.

    Raises:
        TargetError: it is not such an int.
    """
    try:
        number = operator.index(cast(Any, value))
    except TypeError:
        number = None
    if number is None or isinstance(value, bool | np.bool_):
        raise _wrong(name, value, "is not an int")
    if not least <= number <= most:
        raise _wrong(name, value, f"is not between {least} and {most}")
    return number


def flag(value: object, name: str) -> bool:
    """Return a bool.

    Raises:
        TargetError: it is not a bool.
    """
    if not isinstance(value, bool | np.bool_):
        raise _wrong(name, value, "is neither True nor False")
    return bool(value)


def choice(value: object, name: str, choices: Sequence[str]) -> str:
    """Return one of several texts.

    Raises:
        TargetError: it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise _wrong(name, value, f"is not one of: {', '.join(choices)}")
    return str(value)


def certificates(value: object) -> bytes | None:
    """Return the PEM of certificate authorities.

    Raises:
        TargetError: it has no certificate.
    """
    if value is None:
        return None
    if not isinstance(value, bytes) or not value:
        fix = "give the content of a PEM file: Path(...).read_bytes()"
        raise _wrong("root_certificates", value, "is not bytes of a PEM file", fix)
    try:
        ssl.create_default_context(cadata=value.decode("ascii"))
    except (ssl.SSLError, ValueError) as exc:
        fix = "give the content of a PEM file of certificates"
        raise _wrong("root_certificates", value, f"cannot be read as certificates: {exc}", fix) from exc
    return value


def named_inputs(value: object, named: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return inputs by name, from a mapping and from keyword arguments.

    Raises:
        TargetError: it is not a mapping, or a name is not a str that UTF-8 can hold.
    """
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        fix = "give a dict of arrays by input name, or keyword arguments: predict('digits', image=array)"
        raise _wrong("inputs", value, "is not a mapping", fix)
    inputs = {**value, **(named or {})}
    return {text(name, "name of an input"): item for name, item in inputs.items()}


def examples(value: object, name: str = "examples") -> list[Any]:
    """Return the examples of a call as a list.

    Raises:
        TargetError: it is not a list of examples.
    """
    fix = "give a list with one dict of features, or one serialized tf.Example, per example"
    if not isinstance(value, Sequence | np.ndarray) or isinstance(value, str | bytes | bytearray | memoryview):
        raise _wrong(name, value, "is not a list of examples", fix)
    if _length(value) > _MAX_ELEMENTS:
        raise _wrong(name, value, "has more examples than a request can carry", fix)
    if isinstance(value, np.ndarray) and value.ndim != 1:
        raise _wrong(name, value, f"has {value.ndim} dims, not 1", fix)
    return list(value.tolist() if isinstance(value, np.ndarray) else value)


def array(name: str, value: Any) -> Array:
    """Return an input that is an array of some library as NumPy's; the class BFloat16Bits is kept.

    Raises:
        TensorError: it is not an array, has masked elements, or tensors do not have its dtype.
    """
    try:
        result = np.asanyarray(value)
    except Exception as exc:
        raise TensorError(
            f"The input {name!r} ({type(value).__name__}) cannot be converted to an array: {exc}.",
            fix="give a NumPy array",
            code="TFB7101",
        ) from exc
    if isinstance(result, np.ma.MaskedArray):
        if np.ma.is_masked(result):
            fix = "replace them first, e.g. with array.filled(0)"
            raise TensorError(
                f"The input {name!r} has masked elements, which a tensor cannot have.", fix=fix, code="TFB7101"
            )
        result = result.data
    _check_dtype(name, result)
    if result.size > _MAX_ELEMENTS or (result.dtype.kind != "O" and result.nbytes > _MAX_ELEMENTS):
        raise TensorError(
            f"The input {name!r} has {result.size} elements, more than a request can carry.",
            fix="send fewer rows",
            code="TFB7008",
        )
    return cast(Array, result)


def _check_dtype(name: str, value: Array) -> None:
    try:
        dtype_number(array_dtype_name(value))
    except TensorError as exc:
        exc.what = f"The input {name!r} cannot be sent: {exc.what}"
        raise


def typed_array(name: str, value: Any, dtype: str | None) -> Array:
    """Return a list or number as an array.

    Args:
        name: name of the input.
        value: nested lists, a number or text.
        dtype: dtype of the signature's input; None if the signature has no such input, which the server will reject.

    Raises:
        TensorError: the value cannot be an array of the dtype.
    """
    what = f"The input {name!r} is not a {dtype or 'valid'} tensor"
    fix = "give numbers of that dtype, or nested lists of equal lengths"
    if value is None or (isinstance(value, Sized) and _length(value) > _MAX_ELEMENTS):
        raise TensorError(f"{what}: it is {shown(value)}.", fix=fix, code="TFB7101")
    try:
        if dtype == "bfloat16":
            return bfloat16_from_float32(np.asarray(value, np.float32))
        result = as_array(value) if dtype is None else np.asarray(value, {"string": np.object_}.get(dtype, dtype))
    except Exception as exc:
        reason = exc.what.rstrip(".") if isinstance(exc, TensorError) else exc
        raise TensorError(f"{what}: {reason}.", fix=fix, code="TFB7101") from exc
    _check_dtype(name, result)
    return result


def _length(value: Sized) -> int:
    try:
        return len(value)
    except (OverflowError, TypeError):  # beyond the range of len; an array without dims
        return 0 if isinstance(value, np.ndarray) else _MAX_ELEMENTS + 1


class _Shown(reprlib.Repr):
    """Short texts of values; a text of 200 characters is shown whole."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 200


def shown(value: object) -> str:
    """Return a short text for any value, also for one whose own `__repr__` fails."""
    return _Shown().repr(value)


def _wrong(name: str, value: object, why: str, fix: str | None = None) -> TargetError:
    return TargetError(f"The argument {name} {why}: {shown(value)}.", fix=fix or f"give another {name}", code="TFB7009")

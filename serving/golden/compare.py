"""Compare two answers, by the same rule for parity at build time and for the smoke test.

The relative error of an element is |got - want| / max(|want|, rms(want)). The root mean square is taken over the tensor, so
that elements near zero are measured against the tensor's own scale. Integers, booleans and strings must be equal; NaN and
infinities must be at the same positions.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from serving.protocol.tensors import Array, array_dtype_name, bfloat16_to_float32


@dataclass(frozen=True)
class Difference:
    """Difference between one output and its expected values.

    Attributes:
        output: name of the output.
        max_abs: largest absolute error over all elements; 0 for equal tensors, inf for incomparable ones.
        max_rel: largest relative error, likewise.
        problem: why the tensors cannot be compared by value (dtype, shape, positions of non-finite values), or None.
        index: index of the element with the largest relative error; None for equal, empty or incomparable tensors.
        want: the expected value of that element, as text.
        got: its value in the answer, as text.
    """

    output: str
    max_abs: float
    max_rel: float
    problem: str | None = None
    index: tuple[int, ...] | None = None
    want: str | None = None
    got: str | None = None

    def within(self, tolerance: float) -> bool:
        """Return whether the tensors are comparable and their relative error is at most `tolerance`."""
        return self.problem is None and self.max_rel <= tolerance

    def explain(self) -> str:
        """Return one line of text: the output, the expected value and the value in the answer."""
        if self.problem:
            return f"output {self.output!r}: {self.problem}"
        index = list(self.index) if self.index is not None else []
        return f"output {self.output!r} at {index}: expected {self.want}, got {self.got} (relative error {self.max_rel:.3g})"

    def to_json(self) -> dict[str, Any]:
        """Return plain data without infinite errors, which JSON cannot hold: `problem`, or `want` and `got`, explain them."""
        return {key: value for key, value in asdict(self).items() if value not in (None, float("inf"))}


def compare(output: str, want: Array, got: Array) -> Difference:
    """Compare one output with its expected values. Tensors that differ in dtype or shape give a `problem`, not an error."""
    if array_dtype_name(want) == array_dtype_name(got) == "bfloat16":
        want, got = bfloat16_to_float32(want), bfloat16_to_float32(got)
    if want.dtype.kind in "USO":
        want, got = _text(want), _text(got)
    elif got.dtype != want.dtype:
        return _incomparable(output, f"expected dtype {array_dtype_name(want)}, got {array_dtype_name(got)}")
    if got.shape != want.shape:
        return _incomparable(output, f"expected shape {list(want.shape)}, got {list(got.shape)}")
    if want.size == 0:
        return Difference(output, 0.0, 0.0)
    if want.dtype.kind not in "fcV":
        return _exact(output, want, got)
    return _close(output, want, got)


def _text(array: Array) -> Array:
    """Return strings as an array of str objects: NumPy's own text dtype gives every element the room of the longest one."""
    if array.dtype.kind not in "SO":
        return array
    decoded = np.empty(array.size, np.object_)
    decoded[:] = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in array.ravel().tolist()]
    return decoded.reshape(array.shape)


def _incomparable(output: str, problem: str) -> Difference:
    return Difference(output, float("inf"), float("inf"), problem)


def _exact(output: str, want: Array, got: Array) -> Difference:
    unequal = np.flatnonzero(want.ravel() != got.ravel())
    if unequal.size == 0:
        return Difference(output, 0.0, 0.0)
    max_abs = float("inf")
    if want.dtype.kind in "iu":
        max_abs = float(np.max(np.abs(want.astype(np.float64) - got.astype(np.float64))))
    return _difference_at(output, int(unequal[0]), want, got, max_abs, float("inf"))


def _close(output: str, want: Array, got: Array) -> Difference:
    kind = np.complex128 if want.dtype.kind == "c" else np.float64
    expected, actual = want.astype(kind).ravel(), got.astype(kind).ravel()
    finite = np.isfinite(expected)
    same_finite = np.array_equal(finite, np.isfinite(actual))
    if not same_finite or not np.array_equal(expected[~finite], actual[~finite], equal_nan=True):
        return _incomparable(output, "NaN or infinity are at other positions than expected")
    if not finite.any():
        return Difference(output, 0.0, 0.0)
    error = np.abs(np.subtract(expected, actual, out=np.zeros_like(expected), where=finite))  # inf - inf would warn
    rms = float(np.sqrt(np.mean(np.abs(expected[finite]) ** 2)))
    scale = np.maximum(np.where(finite, np.abs(expected), 1.0), max(rms, np.finfo(np.float64).tiny))
    relative = error / scale
    return _difference_at(output, int(np.argmax(relative)), want, got, float(error.max()), float(relative.max()))


def _difference_at(output: str, flat: int, want: Array, got: Array, max_abs: float, max_rel: float) -> Difference:
    index = tuple(int(i) for i in np.unravel_index(flat, want.shape))
    return Difference(output, max_abs, max_rel, None, index, str(want[index]), str(got[index]))

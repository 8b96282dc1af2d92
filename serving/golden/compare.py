"""How two answers are compared: the one rule for parity at build time and for the smoke test.

The relative error of an element is |got - want| / max(|want|, rms(want)), the root mean square taken over the tensor, so
that elements near zero are measured against the tensor's own scale. Integers, booleans and strings must be equal; NaN and
infinities must stand in the same places.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from serving.protocol.tensors import Array


@dataclass(frozen=True)
class Difference:
    """How far one output is from what was wanted.

    Attributes:
        max_abs, max_rel: largest absolute and relative error over all elements (0 for equal, inf where not comparable).
        problem: why the tensors cannot be compared by value (dtype, shape, non-finite places), or None.
        index, want, got: the element with the largest relative error, or None for an empty or incomparable tensor.
    """

    output: str
    max_abs: float
    max_rel: float
    problem: str | None = None
    index: tuple[int, ...] | None = None
    want: str | None = None
    got: str | None = None

    def within(self, tolerance: float) -> bool:
        return self.problem is None and self.max_rel <= tolerance

    def explain(self) -> str:
        """One line for a person: the output, what was expected and what came."""
        if self.problem:
            return f"output {self.output!r}: {self.problem}"
        at = list(self.index) if self.index is not None else []
        return f"output {self.output!r} at {at}: expected {self.want}, got {self.got} (relative error {self.max_rel:.3g})"

    def to_json(self) -> dict[str, Any]:
        """Plain data; an infinite error is left out (JSON has none): `problem`, or `want` and `got`, say why."""
        return {key: value for key, value in asdict(self).items() if value not in (None, float("inf"))}


def compare(output: str, want: Array, got: Array) -> Difference:
    """Compare one output. Never raises for tensors that differ: the difference says how."""
    if want.dtype.kind in "USO":
        want, got = want.astype(str), _text(got)
    elif got.dtype != want.dtype:
        return _incomparable(output, f"expected dtype {want.dtype}, got {got.dtype}")
    if got.shape != want.shape:
        return _incomparable(output, f"expected shape {list(want.shape)}, got {list(got.shape)}")
    if want.size == 0:
        return Difference(output, 0.0, 0.0)
    if want.dtype.kind not in "fcV":
        return _exact(output, want, got)
    return _close(output, want, got)


def _text(array: Array) -> Array:
    if array.dtype.kind in "SO":
        decoded = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in array.ravel()]
        return np.array(decoded, dtype=str).reshape(array.shape)
    return array


def _incomparable(output: str, problem: str) -> Difference:
    return Difference(output, float("inf"), float("inf"), problem)


def _exact(output: str, want: Array, got: Array) -> Difference:
    wrong = np.flatnonzero(want.ravel() != got.ravel())
    if wrong.size == 0:
        return Difference(output, 0.0, 0.0)
    flat = int(wrong[0])
    size = float("inf")
    if want.dtype.kind in "iu":
        size = float(np.max(np.abs(want.astype(np.float64) - got.astype(np.float64))))
    return _at(output, flat, want, got, size, float("inf"))


def _close(output: str, want: Array, got: Array) -> Difference:
    kind = np.complex128 if want.dtype.kind == "c" else np.float64
    a, b = want.astype(kind).ravel(), got.astype(kind).ravel()
    finite = np.isfinite(a)
    same = np.array_equal(finite, np.isfinite(b)) and np.array_equal(a[~finite], b[~finite], equal_nan=True)
    if not same:
        return _incomparable(output, "NaN or infinity stand in other places than expected")
    if not finite.any():
        return Difference(output, 0.0, 0.0)
    error = np.where(finite, np.abs(np.where(finite, a - b, 0)), 0.0)
    rms = float(np.sqrt(np.mean(np.abs(a[finite]) ** 2)))
    scale = np.maximum(np.where(finite, np.abs(a), 1.0), max(rms, np.finfo(np.float64).tiny))
    relative = error / scale
    return _at(output, int(np.argmax(relative)), want, got, float(error.max()), float(relative.max()))


def _at(output: str, flat: int, want: Array, got: Array, max_abs: float, max_rel: float) -> Difference:
    index = tuple(int(i) for i in np.unravel_index(flat, want.shape))
    return Difference(output, max_abs, max_rel, None, index, str(want[index]), str(got[index]))

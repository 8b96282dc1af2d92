"""Compare the answers of two versions to one request."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from serving.client.transport import Verb
from serving.golden.compare import Difference, compare
from serving.protocol.tensors import Array, array_dtype_name, bfloat16_to_float32

_CLASSES, _SCORES = "classes", "scores"
"""The outputs of Classify, see `serving.client.examples.classes_as_outputs`."""

_STEP = 1 << 20
"""Elements that are subtracted at a time, so that a large output takes little memory beside itself."""


@dataclass(frozen=True)
class OutputComparison:
    """One output in both answers.

    Attributes:
        difference: the largest difference; its `problem` says why the values cannot be compared.
        sum_abs: sum of the absolute differences of the elements that are finite in both answers.
        elements: the number of these elements; 0 for strings and for outputs that cannot be compared.
        same_top: rows whose top class is the same.
        rows: rows of the first answer that have a top class; 0 for an output that does not hold scores of classes.
    """

    difference: Difference
    sum_abs: float = 0.0
    elements: int = 0
    same_top: int = 0
    rows: int = 0

    @property
    def name(self) -> str:
        """Name of the output."""
        return self.difference.output


def compare_answers(
    first: Mapping[str, Array], second: Mapping[str, Array], *, verb: Verb, outputs: Collection[str] = ()
) -> tuple[OutputComparison, ...]:
    """Compare all outputs of two answers, or some of them.

    Args:
        first: the first version's arrays by output name.
        second: the second version's arrays.
        verb: the RPC that was asked. The scores of Classify belong to labels, which may stand in another order.
        outputs: the outputs to compare; empty for all. One that neither answer has is left out.
    """
    names = [name for name in sorted({*first, *second}) if not outputs or name in outputs]
    return tuple(_compare(name, first, second, verb) for name in names)


def _compare(name: str, first: Mapping[str, Array], second: Mapping[str, Array], verb: Verb) -> OutputComparison:
    top, other = _top(name, first, verb), _top(name, second, verb)
    rows = 0 if top is None else top.size
    same = int((top == other).sum()) if top is not None and other is not None and top.shape == other.shape else 0
    if name not in first or name not in second:
        which = "second" if name not in second else "first"
        missing = Difference(name, float("inf"), float("inf"), f"the {which} version does not answer it")
        return OutputComparison(missing, same_top=same, rows=rows)
    difference = compare(name, first[name], second[name])
    is_numeric = difference.problem is None and first[name].dtype.kind not in "USO"
    sum_abs, elements = _sum_abs(first[name], second[name]) if is_numeric else (0.0, 0)
    return OutputComparison(difference, sum_abs, elements, same, rows)


def _top(name: str, answer: Mapping[str, Array], verb: Verb) -> Array | None:
    """Return the top class of each row: its label for Classify, else its index; None if the output has no scores of classes."""
    if name not in answer:
        return None
    scores = _plain(answer[name])
    if scores.ndim != 2 or scores.dtype.kind != "f" or scores.shape[1] < 2:
        return None
    best = np.argmax(scores, axis=1)
    labels = answer.get(_CLASSES)
    if verb == "Classify" and name == _SCORES and labels is not None and labels.shape == scores.shape:
        best = np.take_along_axis(labels, best[:, None], axis=1)[:, 0]
    return np.asarray(best)


def _sum_abs(first: Array, second: Array) -> tuple[float, int]:
    """Return the sum of the absolute differences, and the number of elements that are finite in both arrays."""
    flat, other = _plain(first).reshape(-1), _plain(second).reshape(-1)
    total, count = 0.0, 0
    kind = np.complex128 if flat.dtype.kind == "c" else np.float64
    for start in range(0, flat.size, _STEP):
        a, b = flat[start : start + _STEP].astype(kind), other[start : start + _STEP].astype(kind)
        finite = np.isfinite(a) & np.isfinite(b)
        total += float(np.abs(a[finite] - b[finite]).sum())
        count += int(finite.sum())
    return total, count


def _plain(array: Array) -> Array:
    return bfloat16_to_float32(array) if array_dtype_name(array) == "bfloat16" else array

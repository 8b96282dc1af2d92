"""Golden data of a build: some of PyTorch's outputs, for the smoke test, the warm-up records and `tfbundle verify`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bundler.values.arrays import Array
from bundler.values.reference import Case, ReferenceOutputs
from serving.golden.data import Golden, GoldenCase, batch_size, is_binary

GOLDEN_BYTES = 4 << 20
"""Limit of the golden data's size, which one case per signature may exceed."""


def make_golden(
    model: str,
    references: Sequence[ReferenceOutputs],
    *,
    tolerance: float,
    permutations: Mapping[str, Sequence[int]] | None = None,
    limit: int = GOLDEN_BYTES,
    max_rows: int | None = None,
    fast_path_tolerance: float | None = None,
) -> Golden:
    """Select some of PyTorch's outputs as golden data, with the inputs in the served order of axes.

    The smallest case of each signature is always selected; others follow in the order of the draws while the total stays
    within `limit` bytes.

    Args:
        model: the model's name.
        references: PyTorch's outputs.
        tolerance: the largest relative error that passes.
        permutations: `ConvertedModel.permutations`.
        limit: the size in bytes.
        max_rows: the most rows of a further case: what a batching server takes in one request; None: any number.
        fast_path_tolerance: the tolerance for a model.tflite in lower precision; None: as `tolerance`.
    """
    cases: list[GoldenCase] = []
    room = limit
    for reference in references:
        selected = _select(reference.cases, room, max_rows)
        room -= sum(map(_size, selected))
        for case in selected:
            inputs = reference.to_served(case.inputs, permutations or {})
            cases.append(GoldenCase(reference.exported.name, case.name, inputs, dict(case.outputs)))
    bfloat16 = [place for case in cases for place in _bfloat16_tensors(case)]
    return Golden(model, tolerance, tuple(map(_storable, cases)), tuple(bfloat16), fast_path_tolerance)


def _select(cases: Sequence[Case], room: int, max_rows: int | None) -> list[Case]:
    """Return the smallest case and those others that fit into the room, in their order."""
    smallest = min(cases, key=_size)
    room -= _size(smallest)
    selected = []
    for case in cases:
        if case is smallest:
            selected.append(case)
        elif (max_rows is None or batch_size(case.inputs) <= max_rows) and _size(case) <= room:
            room -= _size(case)
            selected.append(case)
    return selected


def _size(case: Case) -> int:
    return sum(_bytes(array) for side in (case.inputs, case.outputs) for array in side.values())


def _bytes(array: Array) -> int:
    """Return the size of an array, or the total length of the strings or bytes in an object array."""
    return sum(map(len, array.ravel().tolist())) if array.dtype.kind == "O" else array.nbytes


def _bfloat16_tensors(case: GoldenCase) -> Iterator[str]:
    for side, arrays in (("in", case.inputs), ("out", case.outputs)):
        for name, array in arrays.items():
            if array.dtype.name == "bfloat16":
                yield f"{case.signature}/{case.name}/{side}/{name}"


def _storable(case: GoldenCase) -> GoldenCase:
    """Return the case with arrays that NumPy can store: bfloat16 as uint16, strings as unicode arrays."""
    inputs, outputs = (
        {name: _storable_array(array) for name, array in side.items()} for side in (case.inputs, case.outputs)
    )
    return GoldenCase(case.signature, case.name, inputs, outputs)


def _storable_array(array: Array) -> Array:
    if array.dtype.name == "bfloat16":
        return array.view(np.uint16)
    return array.astype(str) if array.dtype.kind in "OS" and not is_binary(array) else array

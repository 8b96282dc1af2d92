"""Golden data of a build: some of PyTorch's answers, for smoke test, warm-up and `tfbundle verify`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bundler.values.arrays import Array
from bundler.values.reference import Case, ReferenceOutputs
from serving.golden.data import Golden, GoldenCase, batch_size, is_binary

GOLDEN_BYTES = 4 << 20
"""Golden data stays below this, but for one case a signature."""


def make_golden(
    model: str,
    asked: Sequence[ReferenceOutputs],
    *,
    tolerance: float,
    permutations: Mapping[str, Sequence[int]] | None = None,
    limit: int = GOLDEN_BYTES,
    max_rows: int | None = None,
) -> Golden:
    """A few of PyTorch's answers, inputs in the served order of axes, as golden data.

    For each signature the smallest call is always kept; others follow in the order of the draws while all
    of it stays below `limit` bytes and has at most `max_rows` rows: what a batching server takes as one request.
    """
    kept: list[GoldenCase] = []
    bfloat16: list[str] = []
    room = limit
    for reference in asked:
        first = min(reference.cases, key=_size)
        room -= _size(first)
        chosen = {first.name}
        for case in reference.cases:
            fits = max_rows is None or batch_size(case.inputs) <= max_rows
            if case is not first and fits and _size(case) <= room:
                room -= _size(case)
                chosen.add(case.name)
        for case in (c for c in reference.cases if c.name in chosen):
            inputs = reference.to_served(case.inputs, permutations or {})
            kept.append(_golden_case(reference.exported.name, Case(case.name, inputs, case.outputs), bfloat16))
    return Golden(model, tolerance, tuple(kept), tuple(bfloat16))


def _size(case: Case) -> int:
    return sum(_bytes(array) for side in (case.inputs, case.outputs) for array in side.values())


def _bytes(array: Array) -> int:
    """Of an object array what its elements have: strings or bytes."""
    return sum(map(len, array.ravel().tolist())) if array.dtype.kind == "O" else array.nbytes


def _golden_case(signature: str, case: Case, bfloat16: list[str]) -> GoldenCase:
    def plain(side: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        out = {}
        for name, array in arrays.items():
            if array.dtype.name == "bfloat16":
                bfloat16.append(f"{signature}/{case.name}/{side}/{name}")
                array = array.view(np.uint16)
            out[name] = array.astype(str) if array.dtype.kind in "OS" and not is_binary(array) else array
        return out

    return GoldenCase(signature, case.name, plain("in", case.inputs), plain("out", case.outputs))

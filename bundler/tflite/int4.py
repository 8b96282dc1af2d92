"""The variant int4: embeddings and fully connected layers with weights in int4; everything else stays float.

1. A constant matrix becomes int4 in blocks (`bundler.tflite.blocks`) if nothing but fully connected layers and embeddings reads
   it, and int8 if its rows are not made of whole blocks. Matrices of fewer than 1,024 values stay float, as in `dynamic`.
2. GATHER has no kernel that scales rows, so that an embedding becomes an EMBEDDING_LOOKUP between two RESHAPEs.
3. XNNPACK quantizes the inputs of each product at run time (qd8-f32-qb4w). Operators that read float weights do not change.
4. If the outputs have less than `AIM_DB` of SQNR, the layers that lose most per weight, each measured as the only int4 layer, are
   int8, as few as reach it and at most a quarter of the weights.

With calibration data, rounding makes up for its errors (`bundler.tflite.energies`). The calls that the gate uses are left out of
it if there are enough others, so that the gate measures what unseen data get.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path

from bundler.tflite import blocks, contents
from bundler.tflite.blocks import Quantized
from bundler.tflite.draws import AGREEING
from bundler.tflite.energies import energies
from bundler.tflite.leading import AIM_DB
from bundler.tflite.matrices import Matrix, matrices, with_matrices
from bundler.tflite.mix import decibels
from bundler.tflite.sensitivity import CALLS as MEASURED_CALLS
from bundler.tflite.sensitivity import Outputs, float_names, largest_loss, outputs_of
from bundler.values.arrays import Array

_LEAST_CALLS, _MOST_CALLS = 8, 16
"""Calls from which rounding is calibrated."""
CALLS = AGREEING + _MOST_CALLS
"""Calls that are used."""
_MEASURED = 48
"""Approximate maximum number of groups of layers whose loss is measured."""

Calls = Sequence[Mapping[str, Array]]


class Int4:
    """Makes the int4 form of one float file.

    Args:
        file: content of the float file.
        calls: inputs of serving_default by name: the calibration calls, or test calls if there are none.
        scratch: a path for temporary .tflite files, not used by anything else.
        calibrated: whether `calls` are calibration calls.
    """

    def __init__(self, file: bytes, calls: Calls, scratch: Path, *, calibrated: bool) -> None:
        self.float_file, self._calls, self._scratch = file, calls, scratch
        self._runs_here = not contents.flex(contents.operators_of(file))
        self._calibrated = calibrated and self._runs_here

    def file(self) -> bytes:
        """Return the content of the int4 file.

        Raises:
            TfliteError: the file is over 2 GiB, or the interpreter fails.
        """
        return self._with(self.matrices, self.int8)

    @cached_property
    def matrices(self) -> tuple[Matrix, ...]:
        """The matrices that become int4 or int8."""
        return matrices(self.float_file)

    @cached_property
    def int8(self) -> tuple[Matrix, ...]:
        """The matrices that become int8 for the sake of the outputs, those that lose most per weight first."""
        candidates = tuple(self._in_int4)
        if not candidates or not self._runs_here or not float_names(self._float_outputs) or self._is_good(()):
            return ()
        size = -(-len(candidates) // _MEASURED)
        groups = [candidates[start : start + size] for start in range(0, len(candidates), size)]
        groups.sort(key=lambda group: -self._loss(self._with(group)) / _weights(group))
        weights = list(accumulate(map(_weights, groups)))
        most = max(1, bisect_right(weights, weights[-1] // 4))
        return _joined(groups[: bisect_left(range(most), True, key=lambda count: self._is_good(_joined(groups[:count])))])

    def _is_good(self, int8: Collection[Matrix]) -> bool:
        return decibels(self._loss(self._with(self.matrices, int8))) >= AIM_DB

    def _loss(self, file: bytes) -> float:
        return largest_loss(self._float_outputs, outputs_of(file, self._calls[:MEASURED_CALLS], self._scratch))

    @cached_property
    def _float_outputs(self) -> Outputs:
        return outputs_of(self.float_file, self._calls[:MEASURED_CALLS], self._scratch)

    def _with(self, quantized: Collection[Matrix], int8: Collection[Matrix] = ()) -> bytes:
        int4 = {matrix: self._in_int4[matrix] for matrix in quantized if matrix in self._in_int4 and matrix not in int8}
        others = {matrix: blocks.to_int8(matrix.values) for matrix in quantized if matrix not in int4}
        return with_matrices(self.float_file, int4 | others)

    @cached_property
    def _in_int4(self) -> dict[Matrix, Quantized]:
        whole = [matrix for matrix in self.matrices if matrix.has_blocks]
        rounded = {}
        if self._calibrated:
            for matrix, energy in energies(self.float_file, whole, self._rounding_calls):
                rounded[matrix] = blocks.to_int4(matrix.values, energy)
        return {matrix: rounded.get(matrix) or blocks.to_int4(matrix.values) for matrix in whole}

    @property
    def _rounding_calls(self) -> Calls:
        unseen = self._calls[AGREEING:CALLS]
        return unseen if len(unseen) >= _LEAST_CALLS else self._calls[:_MOST_CALLS]


def _weights(group: Sequence[Matrix]) -> int:
    return sum(matrix.values.size for matrix in group)


def _joined(groups: Sequence[Sequence[Matrix]]) -> tuple[Matrix, ...]:
    return tuple(chain.from_iterable(groups))

"""Weights in int4 with a scale for each block of a row, and in int8 with a scale for each row.

1. The scale of a block is the one with the smallest squared error among shares of the scale that reaches its largest weight: a
   few far weights are cut off if the others gain from it. Scales are powers and fractions that bfloat16 and float16 both hold,
   because XNNPACK keeps them in bfloat16 and LiteRT's own kernels in float16.
2. With inputs from calibration, each column is rounded so that the columns after it make up for its error (GPTQ: Frantar et al.,
   https://arxiv.org/abs/2210.17323): what counts is the error of the product, not of the weights.

A row is packed with two weights per byte, the first in the low half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bundler.values.arrays import Array

SIZE = 32
"""Weights per block, the smallest number that XNNPACK takes; a scale of 16 bits then costs half a bit per weight."""
_LOWEST, _HIGHEST = -8, 7
_SHARES = np.linspace(0.55, 1.0, 19, dtype=np.float32)
"""Shares of the scale that reaches a block's largest weight."""
_LEAST_SHRINKAGE = 0.01
_CHUNK = 1 << 22
"""Weights whose scales are searched at once, which bounds the memory."""


@dataclass(frozen=True)
class Quantized:
    """A matrix of integers with scales.

    Attributes:
        data: int8 [rows, columns], or uint8 [rows, columns / 2] with two weights per byte.
        scales: float32 [rows, blocks], or [rows] for int8.
    """

    data: Array
    scales: Array


@dataclass(frozen=True)
class Energy:
    """The inputs that the columns of a matrix are multiplied with.

    Attributes:
        products: float32 [columns, columns], the sum of xᵀx over all rows x.
        rows: number of rows.
    """

    products: Array
    rows: int

    @property
    def shrunk(self) -> Array:
        """The products, drawn towards independent inputs: as far as few rows say little (float64).

        The oracle-approximating estimator of Chen et al., https://arxiv.org/abs/0907.4698, eq. 23.
        """
        products = self.products.astype(np.float64)
        size = len(products)
        trace, square = float(np.trace(products)) or float(size), float(np.square(products).sum())
        spread = (self.rows + 1 - 2 / size) * (square - trace**2 / size)
        share = min(1.0, ((1 - 2 / size) * square + trace**2) / spread) if spread > 0 else 1.0
        share = max(share, _LEAST_SHRINKAGE)
        products *= 1 - share
        products[np.diag_indices_from(products)] += share * trace / size
        return products


def to_int4(weights: Array, energy: Energy | None = None) -> Quantized:
    """Quantize a matrix to int4.

    Args:
        weights: float32 [rows, columns], with a multiple of `SIZE` columns.
        energy: the inputs that the columns are multiplied with; None if unknown.
    """
    rows = max(1, _CHUNK // weights.shape[1])
    if energy is None:
        parts = [_rounded(weights[start : start + rows]) for start in range(0, len(weights), rows)]
        values, scales = (np.concatenate(side) for side in zip(*parts, strict=True))
    else:
        values, scales = _compensated(weights, energy)
    halves = values.astype(np.int8).view(np.uint8) & 0x0F
    return Quantized(halves[:, 0::2] | halves[:, 1::2] << 4, scales)


def to_int8(weights: Array) -> Quantized:
    """Quantize a float32 matrix to int8 with a scale for each row."""
    scales = np.abs(weights).max(1).astype(np.float32) / 127
    scales[scales == 0] = 1
    return Quantized(np.rint(weights / scales[:, None]).astype(np.int8), scales)


def _rounded(weights: Array) -> tuple[Array, Array]:
    """Return the integers and the scales of the smallest squared error."""
    blocks = weights.reshape(len(weights), -1, SIZE)
    scales = _scales(blocks)
    return _nearest(blocks, scales).reshape(weights.shape), scales


def _scales(blocks: Array) -> Array:
    largest: Array = np.abs(blocks).max(-1) / _HIGHEST
    best: Array = np.ones_like(largest)
    least: Array = np.full_like(largest, np.inf)
    for share in _SHARES:
        scales = _storable(largest * share)
        error = np.square(_nearest(blocks, scales) * scales[..., None] - blocks).sum(-1)
        best = np.where(error < least, scales, best)
        least = np.minimum(error, least)
    return best


def _nearest(blocks: Array, scales: Array) -> Array:
    values: Array = np.clip(np.rint(blocks / scales[..., None]), _LOWEST, _HIGHEST)
    return values


def _storable(scales: Array) -> Array:
    """Round positive scales to numbers that both bfloat16 and float16 hold; 0, of a block of zeros, becomes 1."""
    limits = np.finfo(np.float16)
    bits = np.clip(scales, limits.tiny, limits.max / 2).astype(np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
    storable: Array = np.where(scales > 0, rounded, np.float32(1))
    return storable


def _compensated(weights: Array, energy: Energy) -> tuple[Array, Array]:
    """Return integers and scales; the error of each column is distributed over the columns after it."""
    spread = _spread(energy)
    left = np.array(weights.T, np.float32, order="C")  # a column is contiguous
    values, scales = np.empty_like(left), np.empty((len(left) // SIZE, left.shape[1]), np.float32)
    for start in range(0, len(left), SIZE):
        end = start + SIZE
        scale = scales[start // SIZE] = _scales(left[start:end].T[:, None])[:, 0]
        errors = np.empty((SIZE, left.shape[1]), np.float32)
        for column in range(start, end):
            values[column] = np.clip(np.rint(left[column] / scale), _LOWEST, _HIGHEST)
            errors[column - start] = (left[column] - values[column] * scale) / spread[column, column]
            left[column:end] -= spread[column, column:end, None] * errors[column - start]
        left[end:] -= spread[start:end, end:].T @ errors
    return values.T, np.ascontiguousarray(scales.T)


def _spread(energy: Energy) -> Array:
    """Return the upper Cholesky factor of the inverse of the energy."""
    factor: Array = np.linalg.cholesky(np.linalg.inv(energy.shrunk)).T.astype(np.float32)
    return factor

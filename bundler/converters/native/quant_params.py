"""How a quantized constant maps integers to real numbers."""

from __future__ import annotations

from typing import NamedTuple

from bundler.values.arrays import Array


class QuantParams(NamedTuple):
    """Parameters of a quantized constant: real = (integer - zero_point) * scale, with integers from low to high.

    Attributes:
        scale: float32 [1], or one per channel.
    """

    scale: Array
    zero_point: int
    low: int
    high: int

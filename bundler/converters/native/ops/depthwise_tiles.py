"""Depthwise convolutions with large kernels for TFLite, as sums of convolutions with the kernel's tiles.

XNNPACK has depthwise kernels of up to 25 taps. It runs a larger kernel as one small product per pixel and channel, which is five
times slower than the convolutions of its tiles (7x7 of ConvNeXt).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from bundler.converters.native.tensors import Tensor

MOST_TAPS = 25
"""Taps of XNNPACK's largest depthwise kernel (xnn_init_f32_dwconv_config, xnn_init_qs8_qc8w_dwconv_config)."""


@dataclass(frozen=True)
class Tile:
    """Rows `top` to `bottom` and columns `left` to `right` of a kernel, the ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    def read_by(self, data: Tensor, kernel: tuple[int, int], dilation: tuple[int, int]) -> Tensor:
        """Return the part of padded data [N, H, W, C] over which this tile moves while the whole kernel moves over all.

        Args:
            data: what the whole kernel reads.
            kernel: the kernel's height and width.
            dilation: the distance between its taps along both axes.
        """
        rows = _part(self.top, self.bottom, kernel[0], dilation[0])
        columns = _part(self.left, self.right, kernel[1], dilation[1])
        return data[:, rows, columns]


def _part(begin: int, end: int, taps: int, dilation: int) -> slice:
    return slice(begin * dilation, (end - taps) * dilation or None)


def tiles(height: int, width: int) -> Iterator[Tile]:
    """Yield the tiles of a kernel: as few as possible of at most MOST_TAPS, and among those the widest."""
    sizes = [(min(MOST_TAPS // w, height), w) for w in range(min(width, MOST_TAPS), 0, -1)]
    rows, columns = min(sizes, key=lambda size: -(-height // size[0]) * -(-width // size[1]))
    for top, left in itertools.product(range(0, height, rows), range(0, width, columns)):
        yield Tile(top, min(top + rows, height), left, min(left + columns, width))

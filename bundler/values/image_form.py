"""How .tflite files take a model's image input: the order of the axes, and pixels in place of normalized values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bundler.values.arrays import Array


@dataclass(frozen=True)
class ImageForm:
    """The form of an image input in .tflite files, [1, height, width, channels] or another order.

    With `factor`, the files take pixels of 0 to 255 and normalize them: the model's value is pixel * factor + offset.

    Attributes:
        name: the input.
        axis: the channel axis of PyTorch's array.
        order: the axes that bring PyTorch's array into the file's order; None if it is the same.
        factor, offset: one number per channel of PyTorch's array; empty if the file takes what the model takes.
        is_reversed: whether the file's channels are in the opposite order, RGB for a model that takes BGR.
    """

    name: str
    axis: int
    order: tuple[int, ...] | None = None
    factor: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    is_reversed: bool = False

    @property
    def takes_pixels(self) -> bool:
        """Whether the file takes RGB or grey pixels of 0 to 255."""
        return bool(self.factor)

    @property
    def file_axis(self) -> int:
        """The channel axis of the file's input."""
        return self.axis if self.order is None else self.order.index(self.axis)

    def dims(self, dims: Sequence[Any]) -> tuple[Any, ...]:
        """Return dims of PyTorch's array in the file's order."""
        return tuple(dims) if self.order is None else tuple(dims[axis] for axis in self.order)

    def to_file(self, array: Array) -> Array:
        """Return what the file takes in place of an array that PyTorch takes."""
        values = array
        if self.takes_pixels:
            pixels = (array.astype(np.float64) - self._along(self.offset)) / self._along(self.factor)
            values = (np.flip(pixels, self.axis) if self.is_reversed else pixels).astype(array.dtype)
        return np.ascontiguousarray(values if self.order is None else np.transpose(values, self.order))

    def _along(self, numbers: Sequence[float]) -> Array:
        return np.asarray(numbers, np.float64).reshape(-1, *[1] * (3 - self.axis))

    def centered(self, *, done: bool) -> ImageForm:
        """Return what is left to compute once the model's weights contain the factor and the order of the channels.

        Args:
            done: whether they contain the offset, too; otherwise, it is left in pixels, in the file's order of channels.
        """
        center = np.asarray(self.offset) / np.asarray(self.factor)
        left = np.zeros_like(center) if done else center[::-1] if self.is_reversed else center
        ones = (1.0,) * len(self.factor)
        return replace(self, factor=ones, offset=tuple(left.tolist()), is_reversed=False)

"""Pads of convolutions and pools, from ONNX's attributes to TensorFlow's arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from bundler.converters.native.dims import Dim, Element, from_sizes, larger, pad_pairs, subtract


@dataclass(frozen=True)
class Padding:
    """Rows and columns added before and after each spatial axis.

    Attributes:
        begin: one number per spatial axis, a Dim where it depends on a dynamic size.
        end: one number per spatial axis.
        same: whether TensorFlow's SAME adds these pads.
    """

    begin: tuple[Element, ...]
    end: tuple[Element, ...]
    same: bool = False

    @property
    def is_zero(self) -> bool:
        """Whether nothing is added."""
        return not self.same and not any(self.begin) and not any(self.end)

    @property
    def is_dynamic(self) -> bool:
        """Whether a number is known only at run time."""
        return any(isinstance(p, Dim) for p in (*self.begin, *self.end))

    def lifted(self) -> Padding:
        """Return the padding of a one-dimensional op that runs over images with a height of 1."""
        return Padding((0, *self.begin), (0, *self.end), self.same)

    @property
    def pairs(self) -> list[list[Element]]:
        """The pads of a channels-last tensor (N, spatial…, C) in the form tf.pad and explicit paddings take."""
        return [[0, 0], *([b, e] for b, e in zip(self.begin, self.end, strict=True)), [0, 0]]

    def explicit(
        self, sizes: Sequence[Element], kernel: Sequence[Element], stride: Sequence[int], dilation: Sequence[int]
    ) -> Padding:
        """Return the same pads with the numbers that TensorFlow's SAME stands for."""
        if not self.same:
            return self
        totals = [_same_total(n, k, s) for n, k, s in zip(sizes, reach(kernel, dilation), stride, strict=True)]
        return Padding(*_halves(totals))

    def apply(self, data: tf.Tensor, target: str) -> tuple[tf.Tensor, Any]:
        """Return the data and the `padding` argument of the op that follows.

        A negative pad crops the data. Only TensorFlow's own kernels take explicit paddings; for others the data are padded.

        Args:
            data: channels last.
            target: `serving` if the op that follows takes explicit paddings.
        """
        if self.same:
            return data, "SAME"
        if self.is_zero:
            return data, "VALID"
        if self.is_dynamic:
            return tf.pad(data, pad_pairs(self.pairs)), "VALID"
        if any(p < 0 for p in (*self.begin, *self.end) if isinstance(p, int)):
            spatial = (_crop(b, e) for b, e in zip(self.begin, self.end, strict=True))
            window = (slice(None), *spatial, slice(None))
            data = data[window]
            rest = Padding(tuple(larger(b, 0) for b in self.begin), tuple(larger(e, 0) for e in self.end))
            return rest.apply(data, target)
        if target == "serving":
            return data, self.pairs
        return tf.pad(data, self.pairs), "VALID"

    def same_with_zeros(
        self, sizes: Sequence[int | None], kernel: Sequence[Element | None], stride: Sequence[int], dilation: Sequence[int]
    ) -> list[int] | None:
        """Return how many rows of zeros (0 or 1 per axis) at the kernel's end turn these pads into SAME, or None.

        PyTorch's stride of 2 with a 3x3 kernel and one row of padding on an even size is SAME for a 4x4 kernel.

        Args:
            sizes: the spatial sizes; None for a dynamic one.
            kernel: the kernel's sizes.
            stride: one number per spatial axis.
            dilation: one number per spatial axis.
        """
        grown: list[int] = []
        for size, k, s, d, begin, end in zip(sizes, kernel, stride, dilation, self.begin, self.end, strict=True):
            if size is None or not isinstance(k, int) or isinstance(begin, Dim) or isinstance(end, Dim) or d != 1:
                return None
            if (size + begin + end - k) // s + 1 != -(-size // s):
                return None
            fits = [extra for extra in (0, 1) if _same_total(size, k + extra, s) in (2 * begin, 2 * begin + 1)]
            if not fits:
                return None
            grown.append(fits[0])
        return grown if not self.same and not self.is_zero else None


def reach(kernel: Sequence[Element], dilation: Sequence[int]) -> list[Element]:
    """Return how many elements the kernel spans along each axis."""
    return [from_sizes(f"reach_{d}", lambda k, d=d: (k - 1) * d + 1, k) for k, d in zip(kernel, dilation, strict=True)]


def _halves(totals: Sequence[Element]) -> tuple[tuple[Element, ...], tuple[Element, ...]]:
    """Return the smaller half of each number, and the rest."""
    first = tuple(from_sizes("smaller_half", lambda t: t // 2, total) for total in totals)
    return first, tuple(subtract(total, half) for total, half in zip(totals, first, strict=True))


def _crop(begin: Element, end: Element) -> slice:
    return slice(max(-begin, 0), min(end, 0) or None) if isinstance(begin, int) and isinstance(end, int) else slice(None)


def resolve_padding(
    auto_pad: str, pads: Sequence[int] | None, sizes: Sequence[Element], kernel: Sequence[Element], stride: Sequence[int],
    dilation: Sequence[int],
) -> Padding:  # fmt: skip
    """Return the padding that ONNX's attributes `auto_pad` and `pads` stand for.

    Args:
        auto_pad: NOTSET, VALID, SAME_UPPER or SAME_LOWER.
        pads: the numbers before each axis, then those after each axis.
        sizes: the spatial sizes of the data.
        kernel: the kernel's sizes.
        stride: one number per spatial axis.
        dilation: one number per spatial axis.
    """
    count = len(kernel)
    whole = not any(isinstance(k, Dim) for k in kernel)
    if auto_pad == "SAME_UPPER" and whole:
        return Padding((0,) * count, (0,) * count, same=True)
    totals = [_same_total(n, k, s) for n, k, s in zip(sizes, reach(kernel, dilation), stride, strict=True)]
    if auto_pad in ("SAME_LOWER", "SAME_UPPER"):
        first, second = _halves(totals)
        begin, end = (first, second) if auto_pad == "SAME_UPPER" else (second, first)
    else:
        flat: list[Element] = list(pads or [0] * (2 * count)) if auto_pad == "NOTSET" else [0] * (2 * count)
        begin, end = tuple(flat[:count]), tuple(flat[count:])
    return Padding(begin, end, same=whole and _is_same(begin, end, totals))


def _same_total(size: Element, reach: Element, stride: int) -> Element:
    """Return the sum of the pads that SAME adds along one axis; with stride 1 it does not depend on the size."""
    if stride == 1:
        return subtract(reach, 1)
    return from_sizes(f"same_{stride}", lambda n, k: larger((-(-n // stride) - 1) * stride + k - n, 0), size, reach)


def _is_same(begin: Sequence[Element], end: Sequence[Element], totals: Sequence[Element]) -> bool:
    if not any(begin) and not any(end):
        return False
    return all(isinstance(t, int) and b == t // 2 and e == t - t // 2 for t, b, e in zip(totals, begin, end, strict=True))

"""Converts images and arrays to the tensors of a .tflite file, and its outputs to numbers and labels.

An export has this module as python/tfbundle_tensors.py; it needs NumPy alone, and Pillow only to read image files. The libraries
for C++, JavaScript, Kotlin and Swift in the same export compute the same, bit for bit, and each has a test with golden data. The
definition that they share:

1. Decode to 8-bit RGB; transparency is dropped, and the EXIF orientation is not applied.
2. One channel is grey: (19595 R + 38470 G + 7471 B + 32768) >> 16.
3. Resize to the input's size. With a crop, the shorter side to `resize` (the longer side is rounded down), or both sides to
   [height, width]. The filters are Pillow's: along one axis after the other, with weights of 22 bits, rounded to 8 bits
   after each. The width is first, unless the height shrinks by more than twice as many pixels.
4. Crop the center; of an odd number of pixels, the even half is cut off at the top or left.
5. Put the channels in the order RGB or BGR.
6. Normalize: (pixel - mean) / std in double precision, rounded to float32. An input of unquantized uint8 takes the pixels.
7. Lay out as [height, width, channels] or [channels, height, width].
8. Quantize: value / scale in double precision, rounded to the nearest integer, a half to even, plus the zero point, limited to
   the range of the dtype. Dequantize: (integer - zero point) * scale in double precision, rounded to float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_PRECISION_BITS = 22  # of a filter's weights (Pillow, src/libImaging/Resample.c)


@dataclass(frozen=True)
class Tensor:
    """An input or output of a .tflite file.

    Attributes:
        name: its name in the signature.
        dtype: NumPy's name of its dtype.
        shape: its shape.
        scale, zero_point: of quantized integers, value = scale * (integer - zero_point); a scale of 0 means not quantized.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float = 0.0
    zero_point: int = 0


@dataclass(frozen=True)
class ImageInput:
    """How an image becomes an input.

    Attributes:
        height, width, channels: the sizes of the input.
        channels_first: whether its channels come before its height and width.
        channel_order: rgb or bgr.
        resize: the size before the crop: the shorter side, or (height, width); None to resize to the input's size.
        interpolation: nearest, bilinear, bicubic or lanczos.
        mean, std: of pixels of 0 to 255, one number, or one per channel.
    """

    height: int
    width: int
    channels: int
    channels_first: bool
    channel_order: str = "rgb"
    resize: int | tuple[int, int] | None = None
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (255.0,)


def read_image(path: Any) -> Array:
    """Return an image file as uint8 [height, width, 3], RGB. This needs Pillow."""
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def prepare_image(pixels: Array, image: ImageInput, tensor: Tensor) -> Array:
    """Return the content of an image input, with a batch axis of 1.

    Args:
        pixels: uint8 [height, width, 3], RGB, of any size.
        image: the preprocessing.
        tensor: the input.
    """
    cut = fit(pixels, image)
    if image.channel_order == "bgr":
        cut = cut[..., ::-1]
    is_raw = tensor.dtype == "uint8" and not tensor.scale
    values = cut if is_raw else ((cut - _row(image.mean)) / _row(image.std)).astype(np.float32)
    if image.channels_first:
        values = values.transpose(2, 0, 1)
    return encode(np.ascontiguousarray(values[np.newaxis]), tensor)


def _row(values: Sequence[float]) -> Array:
    return np.asarray(values, np.float64)


def fit(pixels: Array, image: ImageInput) -> Array:
    """Return the pixels in the size and number of channels of the input, RGB or grey."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"an image is uint8 [height, width, 3], not {pixels.dtype} {list(pixels.shape)}")
    if image.channels == 1:
        red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
        pixels = ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)[..., np.newaxis]
    height, width = _size_before_crop(pixels.shape[0], pixels.shape[1], image)
    resized = resize(pixels, height, width, image.interpolation)
    top, left = _half(height - image.height), _half(width - image.width)
    return resized[top : top + image.height, left : left + image.width]


def _size_before_crop(height: int, width: int, image: ImageInput) -> tuple[int, int]:
    if image.resize is None:
        return image.height, image.width
    if isinstance(image.resize, int):
        shorter = min(height, width)
        return image.resize * height // shorter, image.resize * width // shorter
    return image.resize


def _half(size: int) -> int:
    half = size // 2
    return half + half % 2 if size % 2 else half


def resize(pixels: Array, height: int, width: int, interpolation: str) -> Array:
    """Resize uint8 [height, width, channels] as Pillow does."""
    old_height, old_width = pixels.shape[:2]
    if interpolation == "nearest":
        return pixels[_nearest(old_height, height)][:, _nearest(old_width, width)]
    if old_height - height > 2 * max(old_width - width, 0):
        return _stretch(_stretch(pixels, height, 0, interpolation), width, 1, interpolation)
    return _stretch(_stretch(pixels, width, 1, interpolation), height, 0, interpolation)


def _nearest(old: int, new: int) -> Array:
    step = old / new
    return np.cumsum([step * 0.5] + [step] * (new - 1)).astype(np.int64)  # Pillow accumulates the step, too


def _stretch(pixels: Array, size: int, axis: int, interpolation: str) -> Array:
    old = pixels.shape[axis]
    if old == size:
        return pixels
    starts, weights = _weights(old, size, interpolation)
    moved = np.moveaxis(pixels, axis, 0)
    sums = np.full((size, *moved.shape[1:]), 1 << (_PRECISION_BITS - 1), np.int32)
    for tap in range(weights.shape[1]):  # a weight beyond the edge is 0
        factors = weights[:, tap].reshape(-1, *[1] * (moved.ndim - 1))
        sums += moved[np.minimum(starts + tap, old - 1)] * factors
    rounded = np.clip(sums >> _PRECISION_BITS, 0, 255).astype(np.uint8)
    return np.moveaxis(rounded, 0, axis)


def _weights(old: int, new: int, interpolation: str) -> tuple[Array, Array]:
    """Return the first source pixel of each new pixel, and the weights from there on, int32 [new, taps]."""
    weigh, support = _FILTERS[interpolation]
    scale = old / new
    stretch = max(scale, 1.0)
    support *= stretch
    starts = np.zeros(new, np.int64)
    weights = np.zeros((new, math.ceil(support) * 2 + 1), np.int32)
    for index in range(new):
        center = (index + 0.5) * scale
        start, end = max(int(center - support + 0.5), 0), min(int(center + support + 0.5), old)
        row = [weigh((source - center + 0.5) * (1.0 / stretch)) for source in range(start, end)]
        total = 0.0
        for value in row:  # sum() rounds otherwise since Python 3.12
            total += value
        fixed = [value / total * (1 << _PRECISION_BITS) for value in row]
        starts[index] = start
        weights[index, : len(row)] = [int(value - 0.5 if value < 0 else value + 0.5) for value in fixed]
    return starts, weights


def _bilinear(x: float) -> float:
    return max(1.0 - abs(x), 0.0)


def _bicubic(x: float) -> float:
    x = abs(x)
    if x < 1.0:
        return (1.5 * x - 2.5) * x * x + 1.0
    return (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5 if x < 2.0 else 0.0


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / 3.0) if -3.0 <= x < 3.0 else 0.0


def _sinc(x: float) -> float:
    return math.sin(x * math.pi) / (x * math.pi) if x else 1.0


_FILTERS: dict[str, tuple[Callable[[float], float], float]] = {
    "bilinear": (_bilinear, 1.0), "bicubic": (_bicubic, 2.0), "lanczos": (_lanczos, 3.0),
}  # fmt: skip


def encode(values: Any, tensor: Tensor) -> Array:
    """Return values as the tensor takes them: quantized if it is, otherwise converted to its dtype."""
    array = np.asarray(values)
    if array.size != math.prod(tensor.shape):
        raise ValueError(f"{tensor.name} has the shape {list(tensor.shape)}, not {list(array.shape)}")
    array = array.reshape(tensor.shape)
    if not tensor.scale:
        return np.asarray(array, np.dtype(tensor.dtype), order="C")
    limits = np.iinfo(tensor.dtype)
    steps = np.rint(np.asarray(array, np.float64) / tensor.scale) + tensor.zero_point
    return np.asarray(np.clip(steps, limits.min, limits.max), np.dtype(tensor.dtype))


def decode(array: Array, tensor: Tensor) -> Array:
    """Return the numbers that an output holds: float32 if it is quantized, otherwise the array as it is."""
    if not tensor.scale:
        return array
    return ((array.astype(np.float64) - tensor.zero_point) * tensor.scale).astype(np.float32)


def top(scores: Array, labels: Sequence[str], count: int = 1) -> list[tuple[str, float]]:
    """Return the labels with the highest scores, the best first; of equal scores, the first label.

    Args:
        scores: one score per label along the last axis; the first row counts.
        labels: the labels.
        count: the number of labels to return.
    """
    row = scores.reshape(-1)[: len(labels)]
    return [(labels[index], float(row[index])) for index in np.argsort(-row, kind="stable")[:count]]

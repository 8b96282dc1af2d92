"""Images as calibration data, prepared as `tflite.images` in bundle.yaml declares.

`bundler.adapters.image` does the same in the graph, for a signature that takes image files.

1. The model has one input: float, or uint8 in 0..255; channels first or last, as its shape says. One channel is grey.
2. `resize`: to the input's size as a whole; or the shorter side to a number, or both sides to [height, width], and then
   the input's size is cut from the middle (`crop: center`).
3. A float input gets (pixel * scale - mean) / std by channel, in the order of `channels`. Unsaid: pixels in 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bundler.errors import MissingExtraError, UsageError
from bundler.spec.signature_spec import ImageSpec
from bundler.values.arrays import Array

if TYPE_CHECKING:
    from bundler.adapters.samples import Sample, SampleFormat
    from bundler.values.signature import TensorSpec


SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_MODES = {1: "L", 3: "RGB"}
_OTHERWISE = "give an .npz or a module:function that yields what the model takes"


@dataclass(frozen=True)
class ImageReader:
    """Reads image files into samples of one input.

    Attributes:
        shape: (channels, height, width) or (height, width, channels).
        channels_first: which of the two.
        how: the preprocessing.
    """

    spec: TensorSpec
    shape: tuple[int, int, int]
    channels_first: bool
    how: ImageSpec = field(default_factory=ImageSpec)

    @classmethod
    def of(cls, layout: SampleFormat, how: ImageSpec | None = None) -> ImageReader:
        """A reader for the model's one input.

        Raises:
            UsageError: the model does not take one image, or the preprocessing does not fit it.
        """
        specs = layout.signature.inputs
        if len(specs) != 1:
            raise UsageError(f"The model has {len(specs)} inputs; images fill one.", fix=_OTHERWISE)
        return cls.of_input(specs[0], layout.sample_shape(specs[0]), how)

    @classmethod
    def of_input(cls, spec: TensorSpec, shape: Sequence[int | None], how: ImageSpec | None = None) -> ImageReader:
        """A reader for an input.

        Args:
            shape: of one sample, without the batch.

        Raises:
            UsageError: the input does not take one image, or the preprocessing does not fit it.
        """
        first = len(shape) == 3 and shape[0] in _MODES
        sizes = tuple(size for size in shape if size is not None)
        if len(sizes) != len(shape) or len(sizes) != 3 or not (first or sizes[-1] in _MODES):
            raise UsageError(f"The input {spec} is not an image with 1 or 3 channels.", fix=_OTHERWISE)
        if spec.dtype not in ("float32", "float16", "uint8"):
            raise UsageError(f"The input {spec} does not take float32 or uint8 pixels.", fix=_OTHERWISE)
        reader = cls(spec, (sizes[0], sizes[1], sizes[2]), first, how or ImageSpec())
        reader._check()
        return reader

    def _check(self) -> None:
        channels, height, width = self.sizes
        for key, values in (("mean", self.how.mean), ("std", self.how.std)):
            if len(values) not in (0, 1, channels):
                raise UsageError(
                    f"tflite.images.{key} has {len(values)} numbers; the input {self.spec} has {channels} channel(s).",
                    fix="give one number, or one a channel",
                )
        if self.spec.dtype == "uint8" and (self.how.mean or self.how.std or "scale" in self.how.model_fields_set):
            raise UsageError(f"The input {self.spec} takes pixels as they are; scale, mean and std have no place.")
        resize = self.how.resize
        least = (resize, resize) if isinstance(resize, int) else resize or (height, width)
        if self.how.crop == "center" and (least[0] < height or least[1] < width):
            raise UsageError(f"tflite.images.resize {resize} is less than the crop of {height}x{width}.")
        if self.how.crop == "none" and resize is not None and (height, width) != least:
            raise UsageError(
                f"tflite.images.resize {resize} does not give the input's {height}x{width}.",
                fix="add crop: center, or leave resize out",
            )

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        a, b, c = self.shape
        return (a, b, c) if self.channels_first else (c, a, b)

    @property
    def rule(self) -> str:
        channels, height, width = self.sizes
        order = "first" if self.channels_first else "last"
        mode = self.how.channels.upper() if channels == 3 else "grey"
        size = f"resized to {height}x{width}"
        if self.how.crop == "center":
            resize = self.how.resize
            side = f"{resize[0]}x{resize[1]}" if isinstance(resize, tuple) else f"shorter side {resize}"
            size = f"resized to {side}, {height}x{width} cut from the middle"
        return f"images: {mode}, channels {order}, {size} ({self.how.interpolation}), {self._scale_rule}"

    @property
    def _scale_rule(self) -> str:
        if self.spec.dtype == "uint8":
            return "scaled to 0..255"
        top = 255 * self.how.scale
        parts = [f"mean {list(self.how.mean)}"] if self.how.mean else []
        parts += [f"std {list(self.how.std)}"] if self.how.std else []
        return f"scaled to 0..{top:g}, {', '.join(parts) or 'no mean or deviation applied'}"

    def sample(self, path: Path, folder: Path) -> Sample:
        """Read one file.

        Raises:
            UsageError: it is not an image.
            MissingExtraError: Pillow is not installed.
        """
        from bundler.adapters.samples import Sample

        try:
            from PIL import Image, UnidentifiedImageError
        except ImportError as exc:
            raise MissingExtraError("pillow", "images", purpose="Calibration with images") from exc
        where = str(path.relative_to(folder))
        try:
            with Image.open(path) as opened:
                prepared = self.prepare(opened)
        except (OSError, UnidentifiedImageError) as exc:
            raise UsageError(f"Calibration sample {where} is not an image: {exc}", where=str(path)) from exc
        return Sample(where, {self.spec.name: prepared})

    def prepare(self, picture: Any) -> Array:
        """A PIL image as the input takes it: without the batch, of the input's dtype and order of channels."""
        return self._scaled(self.pixels(picture))

    def pixels(self, picture: Any) -> Array:
        """A PIL image resized and cut: uint8 [height, width, channels]."""
        channels, height, width = self.sizes
        return np.asarray(self._fitted(picture.convert(_MODES[channels]))).reshape(height, width, channels)

    def _fitted(self, picture: Any) -> Any:
        """Of the input's height and width."""
        from PIL import Image

        _, height, width = self.sizes
        how = Image.Resampling[self.how.interpolation.upper()]
        if self.how.crop == "none":
            return picture.resize((width, height), how)
        resized = picture.resize(self._before_crop(picture.size), how)
        left, top = round((resized.width - width) / 2), round((resized.height - height) / 2)  # as torchvision rounds
        return resized.crop((left, top, left + width, top + height))

    def _before_crop(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height."""
        resize = self.how.resize
        if isinstance(resize, int):
            shorter = min(size)
            return (resize * size[0] // shorter, resize * size[1] // shorter)
        assert resize is not None
        return (resize[1], resize[0])

    def _scaled(self, pixels: Array) -> Array:
        ordered = pixels[..., ::-1] if self.how.channels == "bgr" else pixels
        if self.spec.dtype != "uint8":
            scaled = ordered * np.float32(self.how.scale) - _row(self.how.mean, 0.0)
            ordered = (scaled / _row(self.how.std, 1.0)).astype(self.spec.dtype)
        return np.ascontiguousarray(np.moveaxis(ordered, -1, 0) if self.channels_first else ordered)


def _row(values: Sequence[float], unsaid: float) -> Array:
    return np.asarray(values or (unsaid,), np.float32)

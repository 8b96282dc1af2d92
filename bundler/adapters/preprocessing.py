"""Preprocessing of image files with Pillow, as `tflite.images` in bundle.yaml declares, for calibration data.

`bundler.adapters.image` does the same in the graph, for signatures that take image files.

1. The image fills one input: float, or uint8 in 0..255, with channels first or last, whichever its shape shows. One channel is
   grey.
2. `resize`: by default the whole image to the input's size. With `crop: center`, the shorter side to a number or both sides to
   [height, width], followed by a center crop to the input's size.
3. A float input gets (pixel * scale - mean) / std per channel, in the order of `channels`. The defaults give pixels in 0..1.
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
IMAGES_RULE = "images: "
"""What `ImageReader.rule` begins with."""
_MODES = {1: "L", 3: "RGB"}
_ALTERNATIVE = "give an .npz or a module:function that yields the model's inputs"


@dataclass(frozen=True)
class ImageReader:
    """Reads image files into samples of one input.

    Attributes:
        spec: the model's input.
        shape: of one image: (channels, height, width) or (height, width, channels).
        channels_first: whether `shape` has the channels first.
        options: the preprocessing.
    """

    spec: TensorSpec
    shape: tuple[int, int, int]
    channels_first: bool
    options: ImageSpec = field(default_factory=ImageSpec)

    @classmethod
    def of(cls, sample_format: SampleFormat, options: ImageSpec | None = None) -> ImageReader:
        """Return a reader for a model with one input.

        Raises:
            UsageError: the model does not take exactly one image, or the preprocessing does not fit its input.
        """
        specs = sample_format.signature.inputs
        if len(specs) != 1:
            raise UsageError(
                f"The model has {len(specs)} inputs; images can fill only one.", fix=_ALTERNATIVE, code="TFB1306"
            )
        return cls.of_input(specs[0], sample_format.sample_shape(specs[0]), options)

    @classmethod
    def of_input(cls, spec: TensorSpec, shape: Sequence[int | None], options: ImageSpec | None = None) -> ImageReader:
        """Return a reader for an input.

        Args:
            spec: the input.
            shape: the shape of one sample, without the batch axis.
            options: the preprocessing; None for the defaults.

        Raises:
            UsageError: the input does not take an image, or the preprocessing does not fit it.
        """
        first = len(shape) == 3 and shape[0] in _MODES
        sizes = tuple(size for size in shape if size is not None)
        if len(sizes) != len(shape) or len(sizes) != 3 or not (first or sizes[-1] in _MODES):
            raise UsageError(
                f"The input {spec} is not an image with 1 or 3 channels.", fix=_ALTERNATIVE, code="TFB1306"
            )
        if spec.dtype not in ("float32", "float16", "uint8"):
            raise UsageError(
                f"The input {spec} does not take float32 or uint8 pixels.", fix=_ALTERNATIVE, code="TFB1306"
            )
        reader = cls(spec, (sizes[0], sizes[1], sizes[2]), first, options or ImageSpec())
        reader._check()
        return reader

    def _check(self) -> None:
        channels, height, width = self.sizes
        for key, values in (("mean", self.options.mean), ("std", self.options.std)):
            if len(values) not in (0, 1, channels):
                raise UsageError(
                    f"tflite.images.{key} has {len(values)} numbers, but the input {self.spec} has "
                    f"{'3 channels' if channels == 3 else '1 channel'}.",
                    fix="give one number, or one per channel",
                    code="TFB1306",
                )
        if self.spec.dtype == "uint8" and (self.options.mean or self.options.std or "scale" in self.options.model_fields_set):
            raise UsageError(
                f"The input {self.spec} takes unscaled pixels; scale, mean and std are not allowed.",
                fix="omit them",
                code="TFB1306",
            )
        resize = self.options.resize
        resized = (resize, resize) if isinstance(resize, int) else resize or (height, width)
        if self.options.crop == "center" and (resized[0] < height or resized[1] < width):
            raise UsageError(
                f"tflite.images.resize {resize} is smaller than the crop of {height}x{width}.",
                fix="increase resize",
                code="TFB1306",
            )
        if self.options.crop == "none" and resize is not None and (height, width) != resized:
            raise UsageError(
                f"tflite.images.resize {resize} does not match the input's {height}x{width}.",
                fix="add crop: center, or omit resize",
                code="TFB1306",
            )

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The number of channels, the height and the width of the input."""
        a, b, c = self.shape
        return (a, b, c) if self.channels_first else (c, a, b)

    @property
    def rule(self) -> str:
        """A description of the preprocessing, for reports."""
        channels, height, width = self.sizes
        order = "first" if self.channels_first else "last"
        mode = self.options.channels.upper() if channels == 3 else "grey"
        size = f"resized to {height}x{width}"
        if self.options.crop == "center":
            resize = self.options.resize
            side = f"{resize[0]}x{resize[1]}" if isinstance(resize, tuple) else f"shorter side {resize}"
            size = f"resized to {side}, {height}x{width} cut from the middle"
        return f"{IMAGES_RULE}{mode}, channels {order}, {size} ({self.options.interpolation}), {self._scale_rule}"

    @property
    def _scale_rule(self) -> str:
        if self.spec.dtype == "uint8":
            return "scaled to 0..255"
        top = 255 * self.options.scale
        parts = [f"mean {list(self.options.mean)}"] if self.options.mean else []
        parts += [f"std {list(self.options.std)}"] if self.options.std else []
        return f"scaled to 0..{top:g}, {', '.join(parts) or 'no mean or deviation applied'}"

    def sample(self, path: Path, folder: Path) -> Sample:
        """Read one file of the calibration folder `folder`.

        Raises:
            UsageError: the file is not an image.
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
            raise UsageError(
                f"Calibration sample {where} is not an image: {exc}.",
                where=str(path),
                fix="remove or replace the file",
                code="TFB4002",
            ) from exc
        return Sample(where, {self.spec.name: prepared})

    def prepare(self, picture: Any) -> Array:
        """Convert a PIL image to the input's dtype and channel order, without the batch axis."""
        return self._scaled(self.pixels(picture))

    def pixels(self, picture: Any) -> Array:
        """Resize and crop a PIL image to uint8 [height, width, channels]."""
        channels, height, width = self.sizes
        return np.asarray(self._resized_and_cropped(picture.convert(_MODES[channels]))).reshape(height, width, channels)

    def _resized_and_cropped(self, picture: Any) -> Any:
        from PIL import Image

        _, height, width = self.sizes
        resampling = Image.Resampling[self.options.interpolation.upper()]
        if self.options.crop == "none":
            return picture.resize((width, height), resampling)
        resized = picture.resize(self._size_before_crop(picture.size), resampling)
        left, top = round((resized.width - width) / 2), round((resized.height - height) / 2)  # as torchvision rounds
        return resized.crop((left, top, left + width, top + height))

    def _size_before_crop(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return (width, height) after resizing an image of `size` (width, height)."""
        resize = self.options.resize
        if isinstance(resize, int):
            shorter = min(size)
            return (resize * size[0] // shorter, resize * size[1] // shorter)
        assert resize is not None
        return (resize[1], resize[0])

    def _scaled(self, pixels: Array) -> Array:
        ordered = pixels[..., ::-1] if self.options.channels == "bgr" else pixels
        if self.spec.dtype != "uint8":
            scaled = ordered * np.float32(self.options.scale) - _row(self.options.mean, 0.0)
            ordered = (scaled / _row(self.options.std, 1.0)).astype(self.spec.dtype)
        return np.ascontiguousarray(np.moveaxis(ordered, -1, 0) if self.channels_first else ordered)


def _row(values: Sequence[float], default: float) -> Array:
    return np.asarray(values or (default,), np.float32)

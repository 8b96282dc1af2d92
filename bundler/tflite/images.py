"""Images as calibration data: RGB (grey for one channel), resized to the input's height and width, in 0..1.

1. The model has one input: float in 0..1, or uint8 in 0..255; channels first or last, as its shape says.
2. The whole picture is resized (bilinear), nothing is cropped, no mean and no deviation are applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bundler.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from bundler.signature import TensorSpec
    from bundler.tflite.calibration import Layout, Sample

Array = npt.NDArray[Any]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_MODES = {1: "L", 3: "RGB"}
_OTHERWISE = "give an .npz or a module:function that yields what the model takes"


@dataclass(frozen=True)
class ImageReader:
    """Reads image files into samples of one input.

    Attributes:
        shape: (channels, height, width) or (height, width, channels).
        channels_first: which of the two.
    """

    spec: TensorSpec
    shape: tuple[int, int, int]
    channels_first: bool

    @classmethod
    def of(cls, layout: Layout) -> ImageReader:
        """A reader for the model's one input.

        Raises:
            UsageError: the model does not take one image.
        """
        specs = layout.signature.inputs
        if len(specs) != 1:
            raise UsageError(f"The model has {len(specs)} inputs; images fill one.", fix=_OTHERWISE)
        spec, shape = specs[0], layout.sample_shape(specs[0])
        first = len(shape) == 3 and shape[0] in _MODES
        if len(shape) != 3 or not (first or shape[-1] in _MODES):
            raise UsageError(f"The input {spec} is not an image with 1 or 3 channels.", fix=_OTHERWISE)
        if spec.dtype not in ("float32", "float16", "uint8"):
            raise UsageError(f"The input {spec} does not take float32 or uint8 pixels.", fix=_OTHERWISE)
        return cls(spec, (shape[0], shape[1], shape[2]), first)

    @property
    def _sizes(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        a, b, c = self.shape
        return (a, b, c) if self.channels_first else (c, a, b)

    @property
    def rule(self) -> str:
        channels, height, width = self._sizes
        scale = "0..255" if self.spec.dtype == "uint8" else "0..1, no mean or deviation applied"
        order = "first" if self.channels_first else "last"
        mode = "RGB" if channels == 3 else "grey"
        return f"images: {mode}, channels {order}, resized to {height}x{width}, scaled to {scale}"

    def sample(self, path: Path, folder: Path) -> Sample:
        """Read one file.

        Raises:
            UsageError: it is not an image.
            MissingExtraError: Pillow is not installed.
        """
        from bundler.tflite.calibration import Sample

        try:
            from PIL import Image, UnidentifiedImageError
        except ImportError as exc:
            raise MissingExtraError("pillow", "images", purpose="Calibration with images") from exc
        channels, height, width = self._sizes
        where = str(path.relative_to(folder))
        try:
            with Image.open(path) as opened:
                grey_or_rgb = opened.convert(_MODES[channels])
                resized = grey_or_rgb.resize((width, height), Image.Resampling.BILINEAR)
        except (OSError, UnidentifiedImageError) as exc:
            raise UsageError(f"Calibration sample {where} is not an image: {exc}", where=str(path)) from exc
        pixels = np.asarray(resized).reshape(height, width, channels)
        return Sample(where, {self.spec.name: self._scaled(pixels)})

    def _scaled(self, pixels: Array) -> Array:
        ordered = np.moveaxis(pixels, -1, 0) if self.channels_first else pixels
        if self.spec.dtype == "uint8":
            return np.ascontiguousarray(ordered)
        return np.ascontiguousarray((ordered / np.float32(255)).astype(self.spec.dtype))

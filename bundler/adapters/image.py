"""Input adapter for encoded images: string [batch], decoded, resized, cropped and normalized in the graph.

Each row may have its own size. The preprocessing options are those of calibration images (`bundler.adapters.preprocessing`), and
the result matches Pillow's:

1. JPEG, PNG, GIF and BMP are recognized by their first bytes. JPEG is decoded with the accurate DCT and interpolated chroma, as
   Pillow does (TensorFlow's default is the fast DCT, which differs by up to a few levels of 255). EXIF orientation is not applied
   and transparency is dropped. One channel is ITU-R 601 grey in Pillow's integer arithmetic. CMYK JPEG and 16-bit PNG differ from
   Pillow.
2. Resizing uses Pillow's antialiased filters in two passes, rounding pixels after each. The width is first, or the height if it
   shrinks by more than twice as many pixels as the width (Pillow 13; older versions always begin with the width). The graph does
   as the Pillow of the build does.
3. The result is (pixel * scale - mean) / std, in the order of `channels`, with channels first or last as the input requires.

Each build compares the graph's inputs of the model with Pillow's, in levels of 255 (`_Deviation`). Pillow computes weights in
fixed point and the graph in float32, so a sum that lies between two levels can be rounded to either, in both passes. Rounding
alone moves a pixel by 1 level, at most 2, as often up as down. A wrong filter, a shift by half a pixel, swapped channels or a
wrong normalization moves pixels by many levels, or all of them one way. These bounds do not depend on the number of pixels, so
they mean the same for 8x8 and for 512x512.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bundler.adapters.adapter import BATCH, AdapterCall, byte_strings, check_batched
from bundler.adapters.preprocessing import ImageReader
from bundler.errors import MissingExtraError, ParityError, UsageError
from bundler.spec.signature_spec import ImageInputSpec, ImageSpec
from bundler.values.arrays import Array
from bundler.values.signature import TensorSpec

MAX_WORST, MAX_MEAN, MAX_BIAS = 2.0, 0.5, 0.2
"""Largest allowed difference of a pixel from Pillow's, of all pixels on average, and of the averages, in levels of 255.
From 8x8 to 256x256, with all filters, 1, 0.12 and 0.04 were measured: the most where many sums lie between two levels, as in a
bilinear resize of 9x9 pixels to 8x8."""

_PROBES = ((0.5, 0.7), (1.7, 3.0), (3.0, 1.3), (0.8, 2.5))
"""Width and height, relative to the input, of the noise images that each build resizes: enlarged, reduced, and both, with either
pass first."""

_KERNELS = {"bilinear": "triangle", "bicubic": "keyscubic", "lanczos": "lanczos3"}
"""ScaleAndTranslate's kernels for Pillow's filters: the same supports and, for bicubic, the same a = -0.5."""

_GREY = (19595, 38470, 7471, 0x8000, 16)
"""Weights, rounding and shift of Pillow's convert("L") (libImaging/Convert.c)."""


class ImageAdapter:
    """Decodes and preprocesses images.

    Args:
        name: the derived signature.
        base_inputs: inputs of the wrapped signature, in the served axis order.
        spec: the `image` section of the signature's spec.
        preprocessing: how pixels become the input's values; None for the defaults.

    Raises:
        UsageError: no input, or more than one, takes an image, or the preprocessing does not fit it.
    """

    resources: tuple[Any, ...] = ()

    def __init__(
        self, name: str, base_inputs: Sequence[TensorSpec], spec: ImageInputSpec, preprocessing: ImageSpec | None
    ) -> None:
        check_batched(name, base_inputs, "input")
        self._reader = _reader(name, base_inputs, spec, preprocessing or ImageSpec())
        self._name = spec.name
        others = tuple(other for other in base_inputs if other.name != self._reader.spec.name)
        self.inputs: tuple[TensorSpec, ...] = (TensorSpec(spec.name, "string", (BATCH,)), *others)

    def __call__(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Decode and preprocess the images; other inputs pass through."""
        import tensorflow as tf

        target = self._reader.spec
        others = {other.name: tensors[other.name] for other in self.inputs[1:]}
        pixels = tf.map_fn(self._pixels, tensors[self._name], fn_output_signature=self._pixel_spec())
        return {target.name: tf.cast(self._scaled(pixels), target.dtype), **others}

    def calls(self, base_calls: Sequence[AdapterCall]) -> list[AdapterCall]:
        """Build calls with synthetic images, one per row, some larger and some smaller than the input.

        Args:
            base_calls: calls of the wrapped signature; their number of rows and their other inputs are kept.

        Returns:
            Calls whose base inputs hold the pixels that the graph decodes.

        Raises:
            ParityError: the graph's inputs of the model differ from Pillow's by more than rounding.
        """
        _, height, width = self._reader.sizes
        self._check([_noise(max(1, round(height * tall)), max(1, round(width * wide))) for wide, tall in _PROBES])
        return [self._call(call, seed) for seed, call in enumerate(base_calls)]

    def _call(self, call: AdapterCall, seed: int) -> AdapterCall:
        target = self._reader.spec.name
        _, height, width = self._reader.sizes
        files = [_synthetic_image(height, width, 10 * seed + row) for row in range(len(call.inputs[target]))]
        others = {other.name: call.inputs[other.name] for other in self.inputs[1:]}
        inputs = {self._name: byte_strings(files), **others}
        self._check(files)
        pixels = np.asarray(self(inputs)[target])
        return AdapterCall(call.name, inputs, {**call.base_inputs, target: pixels})

    def _check(self, files: Sequence[bytes]) -> None:
        """Compare the graph's inputs of the model with Pillow's; raise ParityError if they differ by more than rounding."""
        import tensorflow as tf
        from PIL import Image

        for data in files:
            with Image.open(io.BytesIO(data)) as picture:
                want, size = self._reader.prepare(picture), picture.size
            got = np.asarray(tf.cast(self._scaled(self._pixels(data)[None]), self._reader.spec.dtype))[0]
            deviation = _Deviation.of(got, want, self._reader)
            if not deviation.is_rounding:
                raise ParityError(
                    f"The image signature's pixels differ from Pillow's by {deviation}, for an image of {size[0]}x{size[1]} "
                    f"pixels; rounding explains at most {MAX_WORST:g}, {MAX_MEAN:g} and {MAX_BIAS:g}.",
                    fix="report this with the versions that `tfbundle doctor` prints",
                    code="TFB3403",
                )

    def _pixel_spec(self) -> Any:
        import tensorflow as tf

        channels, height, width = self._reader.sizes
        return tf.TensorSpec([height, width, channels], tf.uint8)

    def _pixels(self, data: Any) -> Any:
        """Decode one file to uint8 [height, width, channels]."""
        import tensorflow as tf

        channels, height, width = self._reader.sizes
        picture = _decoded(data)
        if channels == 1:
            picture = _grey(picture)
        picture = self._resized_and_cropped(picture)
        return tf.ensure_shape(picture, [height, width, channels])

    def _resized_and_cropped(self, picture: Any) -> Any:
        import tensorflow as tf

        _, height, width = self._reader.sizes
        options = self._reader.options
        if options.crop == "none":
            return _resized(picture, height, width, options.interpolation)
        original = tf.shape(picture)
        if isinstance(options.resize, int):
            shorter = tf.minimum(original[0], original[1])
            size = options.resize * original[:2] // shorter
        else:
            size = tf.constant(options.resize, tf.int32)
        picture = _resized(picture, size[0], size[1], options.interpolation)
        top, left = (_half(size[0] - height), _half(size[1] - width))
        return picture[top : top + height, left : left + width]

    def _scaled(self, pixels: Any) -> Any:
        import tensorflow as tf

        options = self._reader.options
        ordered = tf.reverse(pixels, [-1]) if options.channels == "bgr" else pixels
        if self._reader.spec.dtype != "uint8":
            mean = tf.constant(options.mean or (0.0,), tf.float32)
            ordered = tf.cast(ordered, tf.float32) * tf.constant(options.scale, tf.float32) - mean
            ordered = ordered / tf.constant(options.std or (1.0,), tf.float32)
        return tf.transpose(ordered, [0, 3, 1, 2]) if self._reader.channels_first else ordered


@dataclass(frozen=True)
class _Deviation:
    """The difference between two inputs of a model that come from the same image, in levels of 255 pixels.

    Attributes:
        worst: the largest difference of a pixel.
        mean: the mean absolute difference.
        bias: the absolute value of the mean difference.
    """

    worst: float
    mean: float
    bias: float

    @classmethod
    def of(cls, got: Array, want: Array, reader: ImageReader) -> _Deviation:
        """Return the difference of two inputs, without the error that the input's own dtype makes of exact values."""
        options = reader.options
        step: Any = 1.0
        mean: Any = 0.0
        if reader.spec.dtype != "uint8":
            std = np.asarray(options.std or (1.0,), np.float64)
            step = np.abs(np.float64(options.scale) / std)
            mean = np.abs(np.asarray(options.mean or (0.0,), np.float64) / std)
            if reader.channels_first:
                step, mean = step.reshape(-1, 1, 1), mean.reshape(-1, 1, 1)
        difference = (got.astype(np.float64) - want.astype(np.float64)) / step
        precision = 0.0 if want.dtype.kind == "u" else float(np.finfo(want.dtype).eps)
        # The subtraction of the mean rounds its operands, which are larger than the result; both inputs are rounded.
        slack = 2 * precision * (np.abs(want.astype(np.float64)) + mean) / step
        difference = np.sign(difference) * np.maximum(np.abs(difference) - slack, 0.0)
        return cls(float(np.abs(difference).max()), float(np.abs(difference).mean()), float(abs(difference.mean())))

    @property
    def is_rounding(self) -> bool:
        """Whether rounding explains the difference."""
        return self.worst <= MAX_WORST and self.mean <= MAX_MEAN and self.bias <= MAX_BIAS

    def __str__(self) -> str:
        return f"up to {self.worst:.3g} levels of 255, by {self.mean:.2f} on average, and by {self.bias:.2f} in one direction"


def check_request() -> None:
    """Raise MissingExtraError if Pillow, which the graph's pixels are compared with, is not installed."""
    try:
        import PIL  # noqa: F401
    except ImportError as exc:
        raise MissingExtraError("pillow", "images", purpose="An image signature, compared with Pillow's pixels,") from exc


def _reader(
    name: str, base_inputs: Sequence[TensorSpec], spec: ImageInputSpec, preprocessing: ImageSpec
) -> ImageReader:
    if spec.input is not None:
        candidates = [candidate for candidate in base_inputs if candidate.name == spec.input]
        if not candidates:
            raise UsageError(
                f"signatures.{name}.image.input names {spec.input!r}, which is not an input of the model.",
                fix=f"choose one of: {', '.join(candidate.name for candidate in base_inputs)}",
                code="TFB1301",
            )
    else:
        candidates = [candidate for candidate in base_inputs if len(candidate.dims) == 4]
        if len(candidates) != 1:
            count = f"{len(candidates)} of its inputs have" if candidates else "none of its inputs has"
            listed = ", ".join(map(str, base_inputs))
            raise UsageError(
                f"The signature {name!r} takes images, so the model needs one input of 4 dims, but {count} 4 dims.",
                fix=f"choose one, e.g. image: {{input: {base_inputs[0].name}}}; the inputs are {listed}",
                code="TFB1301",
            )
    return ImageReader.of_input(candidates[0], candidates[0].shape[1:], preprocessing)


def _decoded(data: Any) -> Any:
    """Decode a file to uint8 [height, width, 3].

    The kernel of DecodeJpeg also reads PNG, GIF and BMP (tensorflow/core/kernels/image/decode_image_op.cc).
    """
    import tensorflow as tf

    return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE", fancy_upscaling=True)


def _grey(picture: Any) -> Any:
    import tensorflow as tf

    red, green, blue, half, shift = _GREY
    whole = tf.cast(picture, tf.int32)
    summed = whole[..., 0] * red + whole[..., 1] * green + whole[..., 2] * blue + half
    return tf.cast(tf.bitwise.right_shift(summed, shift), tf.uint8)[..., None]


def _resized(picture: Any, height: Any, width: Any, interpolation: str) -> Any:
    """Resize as Pillow does: in two passes, one axis after the other, rounding pixels after each."""
    import tensorflow as tf

    old, new = tf.shape(picture)[:2], tf.stack([height, width])
    if interpolation == "nearest":
        rows, columns = _nearest(old[0], height), _nearest(old[1], width)
        return tf.gather(tf.gather(picture, rows, axis=0), columns, axis=1)
    between = tf.stack([old[0], new[1]])
    if _chooses_the_first_pass():
        shrinks = old - new
        height_first = shrinks[0] > 2 * tf.maximum(shrinks[1], 0)
        between = tf.where(height_first, tf.stack([new[0], old[1]]), between)
    kernel = _KERNELS[interpolation]
    return _stretched(_stretched(picture, between, kernel), new, kernel)


def _chooses_the_first_pass() -> bool:
    """Whether the installed Pillow may resize along the height first (libImaging/Resample.c, since 13.0)."""
    import PIL

    return int(PIL.__version__.partition(".")[0]) >= 13


def _nearest(old: Any, new: Any) -> Any:
    """Return the source index of each new pixel. Pillow accumulates the step in double precision (libImaging/Geometry.c)."""
    import tensorflow as tf

    step = tf.cast(old, tf.float64) / tf.cast(new, tf.float64)
    steps = tf.concat([[step / 2], tf.fill([new - 1], step)], axis=0)
    return tf.cast(tf.cumsum(steps), tf.int32)


def _stretched(picture: Any, size: Any, kernel: str) -> Any:
    """Resample uint8 [height, width, channels] to `size`, int32 [height, width]; an axis that keeps its size is not changed."""
    import tensorflow as tf

    scale = tf.cast(size, tf.float32) / tf.cast(tf.shape(picture)[:2], tf.float32)
    resized = tf.raw_ops.ScaleAndTranslate(
        images=picture[None], size=size, scale=scale, translation=[0.0, 0.0], kernel_type=kernel, antialias=True
    )
    # Pillow rounds with floor(x + 0.5); tf.round rounds a half to even.
    return tf.cast(tf.clip_by_value(tf.floor(resized[0] + 0.5), 0.0, 255.0), tf.uint8)


def _half(size: Any) -> Any:
    """Return round(size / 2), rounding a half to even, as Python and torchvision do."""
    import tensorflow as tf

    return tf.cast(tf.round(tf.cast(size, tf.float32) / 2), tf.int32)


def _noise(height: int, width: int) -> bytes:
    """Return a PNG of noise, which every filter and every shift resizes to other pixels."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def _synthetic_image(height: int, width: int, seed: int) -> bytes:
    """Return a smooth image with some grain, 0.5 to 3 times the input's size; PNG for odd seeds, JPEG for even ones."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    size = [max(8, int(side * rng.uniform(0.5, 3.0))) for side in (width, height)]
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((size[0], size[1]), Image.Resampling.BICUBIC)
    grain = rng.integers(-6, 7, (size[1], size[0], 1))
    picture = Image.fromarray(np.clip(np.asarray(coarse, np.int16) + grain, 0, 255).astype(np.uint8))
    file = io.BytesIO()
    if seed % 2:
        picture.save(file, "PNG")
    else:
        picture.save(file, "JPEG", quality=90)
    return file.getvalue()

"""Input adapter for encoded images: string [batch], decoded, resized, cropped and normalized in the graph.

Each row may have its own size. The preprocessing options are those of calibration images (`bundler.adapters.preprocessing`), and
the result matches Pillow's:

1. JPEG, PNG, GIF and BMP are recognized by their first bytes. JPEG is decoded with the accurate DCT and interpolated chroma, as
   Pillow does (TensorFlow's default is the fast DCT, which differs by up to a few levels of 255). EXIF orientation is not applied
   and transparency is dropped. One channel is ITU-R 601 grey in Pillow's integer arithmetic. CMYK JPEG and 16-bit PNG differ from
   Pillow.
2. Resizing uses Pillow's antialiased filters, first along the width, then along the height, rounding pixels after each pass.
   Pillow computes weights in fixed point and the graph in float32, so a pixel can differ by one level of 255; each build measures
   this (`MAX_STEPS`, `MAX_SHARE`).
3. The result is (pixel * scale - mean) / std, in the order of `channels`, with channels first or last as the input requires.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bundler.adapters.adapter import BATCH, AdapterCall, byte_strings, check_batched
from bundler.adapters.preprocessing import ImageReader
from bundler.errors import MissingExtraError, ParityError, UsageError
from bundler.spec.signature_spec import ImageInputSpec, ImageSpec
from bundler.values.signature import TensorSpec

MAX_STEPS, MAX_SHARE = 2, 0.1
"""Largest allowed difference from Pillow in levels of 255, and largest allowed share of pixels that differ. Typically 0.5 % of a
photograph's pixels differ, more where many sums end on a half."""

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
            ParityError: the graph's pixels differ from Pillow's by more than `MAX_STEPS` or `MAX_SHARE`.
        """
        return [self._call(call, seed) for seed, call in enumerate(base_calls)]

    def _call(self, call: AdapterCall, seed: int) -> AdapterCall:
        target = self._reader.spec.name
        _, height, width = self._reader.sizes
        files = [_synthetic_image(height, width, 10 * seed + row) for row in range(len(call.inputs[target]))]
        others = {other.name: call.inputs[other.name] for other in self.inputs[1:]}
        inputs = {self._name: byte_strings(files), **others}
        self._check_pixels(files)
        pixels = np.asarray(self(inputs)[target])
        return AdapterCall(call.name, inputs, {**call.base_inputs, target: pixels})

    def _check_pixels(self, files: Sequence[bytes]) -> None:
        """Compare the graph's pixels with Pillow's; raise ParityError if too many differ."""
        from PIL import Image

        for data in files:
            with Image.open(io.BytesIO(data)) as picture:
                expected = self._reader.pixels(picture).astype(np.int16)
            difference = np.abs(np.asarray(self._pixels(data)).astype(np.int16) - expected)
            share = np.mean(difference > 0)
            if difference.max() > MAX_STEPS or share > MAX_SHARE:
                raise ParityError(
                    f"The image signature's pixels differ from Pillow's by up to {difference.max()} levels of 255, in "
                    f"{share:.2%} of the pixels; at most {MAX_STEPS} levels and {MAX_SHARE:.0%} are allowed.",
                    fix="report this with the versions that `tfbundle doctor` prints",
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
            )
    else:
        candidates = [candidate for candidate in base_inputs if len(candidate.dims) == 4]
        if len(candidates) != 1:
            count = f"{len(candidates)} of its inputs have" if candidates else "none of its inputs has"
            listed = ", ".join(map(str, base_inputs))
            raise UsageError(
                f"The signature {name!r} takes images, so the model needs one input of 4 dims, but {count} 4 dims.",
                fix=f"choose one, e.g. image: {{input: {base_inputs[0].name}}}; the inputs are {listed}",
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
    """Resize as Pillow does: along the width, then along the height, rounding pixels after each pass."""
    import tensorflow as tf

    if interpolation == "nearest":
        rows, columns = (_nearest(old, new) for old, new in ((tf.shape(picture)[0], height), (tf.shape(picture)[1], width)))
        return tf.gather(tf.gather(picture, rows, axis=0), columns, axis=1)
    shape = tf.shape(picture)
    wide = _stretched(picture, shape[0], width, _KERNELS[interpolation])
    return _stretched(wide, height, width, _KERNELS[interpolation])


def _nearest(old: Any, new: Any) -> Any:
    """Return the source index of each new pixel. Pillow accumulates the step in double precision (libImaging/Geometry.c)."""
    import tensorflow as tf

    step = tf.cast(old, tf.float64) / tf.cast(new, tf.float64)
    steps = tf.concat([[step / 2], tf.fill([new - 1], step)], axis=0)
    return tf.cast(tf.cumsum(steps), tf.int32)


def _stretched(picture: Any, height: Any, width: Any, kernel: str) -> Any:
    import tensorflow as tf

    sizes = tf.stack([height, width])
    scale = tf.cast(sizes, tf.float32) / tf.cast(tf.shape(picture)[:2], tf.float32)
    resized = tf.raw_ops.ScaleAndTranslate(
        images=picture[None], size=sizes, scale=scale, translation=[0.0, 0.0], kernel_type=kernel, antialias=True
    )
    # Pillow rounds with floor(x + 0.5); tf.round rounds a half to even.
    return tf.cast(tf.clip_by_value(tf.floor(resized[0] + 0.5), 0.0, 255.0), tf.uint8)


def _half(size: Any) -> Any:
    """Return round(size / 2), rounding a half to even, as Python and torchvision do."""
    import tensorflow as tf

    return tf.cast(tf.round(tf.cast(size, tf.float32) / 2), tf.int32)


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

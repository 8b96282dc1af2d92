"""Encoded images as input: string [batch], decoded, resized, cut and normalized in the graph, each row of its own size.

The declaration is that of calibration images (`bundler.adapters.preprocessing`), and so is the result: Pillow's.

1. JPEG, PNG, GIF and BMP are told by their first bytes. JPEG is decoded with the accurate DCT and interpolated chroma, as Pillow
   does (TensorFlow's own default is the fast DCT, off by up to a few steps of 255). Neither turns by EXIF. Transparency is
   dropped; one channel is ITU-R 601's grey in Pillow's whole numbers. CMYK JPEG and 16-bit PNG are not Pillow's.
2. Resizing is Pillow's: its filters, antialiased, first along the width, then along the height, with whole pixels after each.
   Pillow weighs in fixed point and the graph in float32, so that a pixel can be a step of 255 off; this is measured at each
   build (`MAX_STEPS`, `MAX_SHARE`).
3. (pixel * scale - mean) / std, in the order of `channels`, channels first or last as the input has them.
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
"""Pixels may be so many steps of 255 from Pillow's, and so great a share of them off at all: 0.5 % of a photograph, more where
many sums end on a half."""

_KERNELS = {"bilinear": "triangle", "bicubic": "keyscubic", "lanczos": "lanczos3"}
"""Pillow's filters in ScaleAndTranslate: the same supports and, for bicubic, the same a = -0.5."""

_GREY = (19595, 38470, 7471, 0x8000, 16)
"""Weights, rounding and shift of Pillow's convert("L") (libImaging/Convert.c)."""


class ImageAdapter:
    """Decodes and prepares images.

    Args:
        behind: inputs of the signature behind, in the served order of axes.

    Raises:
        UsageError: no input, or more than one, takes an image, or the preprocessing does not fit it.
    """

    resources: tuple[Any, ...] = ()

    def __init__(self, name: str, behind: Sequence[TensorSpec], spec: ImageInputSpec, how: ImageSpec | None) -> None:
        check_batched(name, behind, "input")
        self._reader = _reader(name, behind, spec, how or ImageSpec())
        self._name = spec.name
        others = tuple(one for one in behind if one.name != self._reader.spec.name)
        self.inputs: tuple[TensorSpec, ...] = (TensorSpec(spec.name, "string", (BATCH,)), *others)

    def __call__(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        import tensorflow as tf

        target = self._reader.spec
        others = {one.name: tensors[one.name] for one in self.inputs[1:]}
        pixels = tf.map_fn(self._pixels, tensors[self._name], fn_output_signature=self._pixel_spec())
        return {target.name: tf.cast(self._scaled(pixels), target.dtype), **others}

    def calls(self, behind: Sequence[AdapterCall]) -> list[AdapterCall]:
        """Images of our own, some larger and some smaller than the input, one for each row of each call."""
        return [self._call(call, seed) for seed, call in enumerate(behind)]

    def _call(self, call: AdapterCall, seed: int) -> AdapterCall:
        target = self._reader.spec.name
        _, height, width = self._reader.sizes
        files = [_picture(height, width, 10 * seed + row) for row in range(len(call.given[target]))]
        others = {one.name: call.given[one.name] for one in self.inputs[1:]}
        given = {self._name: byte_strings(files), **others}
        self._check_pixels(files)
        made = np.asarray(self(given)[target])
        return AdapterCall(call.name, given, {**call.behind, target: made})

    def _check_pixels(self, files: Sequence[bytes]) -> None:
        """The graph's pixels against Pillow's.

        Raises:
            ParityError: more than a few are off.
        """
        from PIL import Image

        for data in files:
            with Image.open(io.BytesIO(data)) as picture:
                wanted = self._reader.pixels(picture).astype(np.int16)
            off = np.abs(np.asarray(self._pixels(data)).astype(np.int16) - wanted)
            if off.max() > MAX_STEPS or np.mean(off > 0) > MAX_SHARE:
                raise ParityError(
                    f"The image signature's pixels are up to {off.max()} of 255 from Pillow's, {np.mean(off > 0):.2%} of them; "
                    f"at most {MAX_STEPS} and {MAX_SHARE:.0%} are allowed.",
                    fix="report this with the versions that `tfbundle doctor` prints",
                )

    def _pixel_spec(self) -> Any:
        import tensorflow as tf

        channels, height, width = self._reader.sizes
        return tf.TensorSpec([height, width, channels], tf.uint8)

    def _pixels(self, data: Any) -> Any:
        """One file: uint8 [height, width, channels]."""
        import tensorflow as tf

        channels, height, width = self._reader.sizes
        picture = _decoded(data)
        if channels == 1:
            picture = _grey(picture)
        picture = self._fitted(picture)
        return tf.ensure_shape(picture, [height, width, channels])

    def _fitted(self, picture: Any) -> Any:
        import tensorflow as tf

        _, height, width = self._reader.sizes
        how = self._reader.how
        if how.crop == "none":
            return _resized(picture, height, width, how.interpolation)
        before = tf.shape(picture)
        if isinstance(how.resize, int):
            shorter = tf.minimum(before[0], before[1])
            size = how.resize * before[:2] // shorter
        else:
            size = tf.constant(how.resize, tf.int32)
        picture = _resized(picture, size[0], size[1], how.interpolation)
        top, left = (_half(size[0] - height), _half(size[1] - width))
        return picture[top : top + height, left : left + width]

    def _scaled(self, pixels: Any) -> Any:
        import tensorflow as tf

        how = self._reader.how
        ordered = tf.reverse(pixels, [-1]) if how.channels == "bgr" else pixels
        if self._reader.spec.dtype != "uint8":
            mean = tf.constant(how.mean or (0.0,), tf.float32)
            ordered = tf.cast(ordered, tf.float32) * tf.constant(how.scale, tf.float32) - mean
            ordered = ordered / tf.constant(how.std or (1.0,), tf.float32)
        return tf.transpose(ordered, [0, 3, 1, 2]) if self._reader.channels_first else ordered


def check_request() -> None:
    """Refuse to build without what proves it.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    try:
        import PIL  # noqa: F401
    except ImportError as exc:
        raise MissingExtraError("pillow", "images", purpose="An image signature, compared with Pillow's pixels,") from exc


def _reader(name: str, behind: Sequence[TensorSpec], spec: ImageInputSpec, how: ImageSpec) -> ImageReader:
    if spec.input is not None:
        chosen = [one for one in behind if one.name == spec.input]
        if not chosen:
            raise UsageError(
                f"signatures.{name}.image.input names {spec.input!r}, which is no input of the model.",
                fix=f"one of: {', '.join(one.name for one in behind)}",
            )
    else:
        chosen = [one for one in behind if len(one.dims) == 4]
        if len(chosen) != 1:
            listed = ", ".join(map(str, behind))
            raise UsageError(
                f"The signature {name!r} takes images, and {len(chosen)} of the model's inputs could be one.",
                fix=f"choose one, e.g. image: {{input: {behind[0].name}}}; the inputs are {listed}",
            )
    return ImageReader.of_input(chosen[0], chosen[0].shape[1:], how)


def _decoded(data: Any) -> Any:
    """uint8 [height, width, 3]. The kernel of DecodeJpeg reads PNG, GIF and BMP too (core/kernels/image/decode_image_op.cc)."""
    import tensorflow as tf

    return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE", fancy_upscaling=True)


def _grey(picture: Any) -> Any:
    import tensorflow as tf

    red, green, blue, half, shift = _GREY
    whole = tf.cast(picture, tf.int32)
    summed = whole[..., 0] * red + whole[..., 1] * green + whole[..., 2] * blue + half
    return tf.cast(tf.bitwise.right_shift(summed, shift), tf.uint8)[..., None]


def _resized(picture: Any, height: Any, width: Any, interpolation: str) -> Any:
    """Pillow's resize: along the width, then along the height, whole pixels after each."""
    import tensorflow as tf

    if interpolation == "nearest":
        rows, columns = (_nearest(old, new) for old, new in ((tf.shape(picture)[0], height), (tf.shape(picture)[1], width)))
        return tf.gather(tf.gather(picture, rows, axis=0), columns, axis=1)
    shape = tf.shape(picture)
    wide = _stretched(picture, shape[0], width, _KERNELS[interpolation])
    return _stretched(wide, height, width, _KERNELS[interpolation])


def _nearest(old: Any, new: Any) -> Any:
    """Which pixel each of the new ones is: Pillow adds up the step in double precision (libImaging/Geometry.c)."""
    import tensorflow as tf

    step = tf.cast(old, tf.float64) / tf.cast(new, tf.float64)
    steps = tf.concat([[step / 2], tf.fill([new - 1], step)], axis=0)
    return tf.cast(tf.cumsum(steps), tf.int32)


def _stretched(picture: Any, height: Any, width: Any, kernel: str) -> Any:
    import tensorflow as tf

    sizes = tf.stack([height, width])
    scale = tf.cast(sizes, tf.float32) / tf.cast(tf.shape(picture)[:2], tf.float32)
    made = tf.raw_ops.ScaleAndTranslate(
        images=picture[None], size=sizes, scale=scale, translation=[0.0, 0.0], kernel_type=kernel, antialias=True
    )
    # floor(x + 0.5), as Pillow rounds; tf.round goes to even.
    return tf.cast(tf.clip_by_value(tf.floor(made[0] + 0.5), 0.0, 255.0), tf.uint8)


def _half(size: Any) -> Any:
    """round(size / 2) of a whole number, a half to even: as Python and torchvision round."""
    import tensorflow as tf

    return tf.cast(tf.round(tf.cast(size, tf.float32) / 2), tf.int32)


def _picture(height: int, width: int, seed: int) -> bytes:
    """A smooth picture with some grain, PNG and JPEG in turns, from half to three times the input's size."""
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

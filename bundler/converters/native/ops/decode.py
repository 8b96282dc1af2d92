"""Decoding of image files inside the model.

https://onnx.ai/onnx/operators/onnx__ImageDecoder.html
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from bundler.converters.native.registry import op
from bundler.converters.native.tensors import Tensor

_BYTES = np.array([bytes([value]) for value in range(256)], object)


@op("ImageDecoder")
def image_decoder(encoded: Tensor, *, pixel_format: str = "RGB") -> Tensor:
    """Lower ImageDecoder: the bytes of a file, uint8 [n], to an image uint8 [H, W, C].

    The formats are JPEG, PNG, BMP, GIF (its first frame), WebP and PPM.
    """
    contents = tf.strings.reduce_join(tf.gather(tf.constant(_BYTES, tf.string), tf.cast(encoded, tf.int32)))
    image = tf.case(
        [
            (tf.io.is_jpeg(contents), lambda: tf.io.decode_jpeg(contents, 3, dct_method="INTEGER_ACCURATE")),
            (tf.equal(tf.strings.substr(contents, 0, 2), "P6"), lambda: _portable_pixmap(contents, encoded)),
        ],
        default=lambda: tf.ensure_shape(tf.io.decode_image(contents, 3, expand_animations=False), [None, None, 3]),
        exclusive=True,
    )
    if pixel_format == "Grayscale":
        return _luma(image)
    return tf.reverse(image, [-1]) if pixel_format == "BGR" else image


def _portable_pixmap(contents: Tensor, encoded: Tensor) -> Tensor:
    """Read a PPM file: `P6 width height 255`, then the pixels to the end of the file."""
    width, height = (tf.strings.to_number(tf.strings.split(contents)[i], tf.int32) for i in (1, 2))
    return tf.reshape(encoded[-width * height * 3 :], [height, width, 3])


def _luma(image: Tensor) -> Tensor:
    """Compute ITU-R 601-2 luma in 16-bit fixed point, as Pillow does."""
    red, green, blue = tf.split(tf.cast(image, tf.int32), 3, -1)
    return tf.cast(tf.bitwise.right_shift(red * 19595 + green * 38470 + blue * 7471 + 0x8000, 16), tf.uint8)

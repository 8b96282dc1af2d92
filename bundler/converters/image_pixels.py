"""Computes a model's values from the pixels that an image input takes in .tflite files."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from bundler.values.image_form import ImageForm


def normalized(pixels: tf.Tensor, form: ImageForm) -> tf.Tensor:
    """Return the model's values, in the file's order of axes, for pixels; a tensor of values as it is.

    Args:
        pixels: the input of the file.
        form: its form.
    """
    if not form.takes_pixels:
        return pixels
    shape = [len(form.factor) if axis == form.file_axis else 1 for axis in range(4)]
    factor, offset = (np.asarray(numbers, np.float32).reshape(shape) for numbers in (form.factor, form.offset))
    if form.is_reversed and form.file_axis == 3:  # a delegate runs a convolution, but not a reversal
        matrix = np.diag(form.factor)[::-1].astype(np.float32)
        pixels = tf.nn.conv2d(pixels, np.ascontiguousarray(matrix[None, None]), 1, "VALID")
    else:
        pixels = tf.reverse(pixels, [form.file_axis]) if form.is_reversed else pixels
        pixels = pixels * factor if np.any(factor != 1) else pixels
    return pixels + offset if np.any(offset != 0) else pixels

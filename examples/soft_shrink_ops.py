"""The handler for the custom operator in `soft_shrink.py`."""

from __future__ import annotations

import tensorflow as tf

from bundler.ops import Layout, op


@op("SoftShrink", domain="mylib", torch="mylib::soft_shrink", layout=Layout.ELEMENTWISE)
def soft_shrink(x: tf.Tensor, *, lambd: float = 0.5) -> tf.Tensor:
    return tf.sign(x) * tf.maximum(tf.abs(x) - lambd, 0.0)

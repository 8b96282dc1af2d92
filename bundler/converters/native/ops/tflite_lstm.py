"""The LSTM of TFLite, one operator for the whole sequence: UNIDIRECTIONAL_SEQUENCE_LSTM.

TensorFlow has no such operator. TFLite's converter puts it in place of a function that declares itself Keras' LSTM layer: with
the attributes below, these six parameters in this order, and these five results, of which only the first two are read
(tensorflow/compiler/mlir/lite/transforms/prepare_composite_functions_tf.cc). A loop costs 2.5 times as much.

TFLite's operator starts from the state that the previous call left, and clips the cell at 10; `bundler.tflite.recurrent`
changes both in the finished file.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.tensors import Tensor
from bundler.values.arrays import Array


def tflite_lstm(ctx: Context, x: Tensor, w: Array, r: Array, bias: Array) -> tuple[Tensor, list[Tensor]]:
    """Run x [T, B, I] from zero states through w [4H, I], r [4H, H] and bias [4H] (gates i, o, f, c).

    Returns:
        All outputs [T, B, H]; and the last output [B, H], with zeros for the last cell state, which TFLite's operator does not
        return.
    """
    hidden = r.shape[-1]
    order = np.concatenate([np.arange(hidden) + gate * hidden for gate in (0, 2, 3, 1)])
    weights = (ctx.weight(np.ascontiguousarray(matrix[order].T)) for matrix in (w, r))
    zeros = tf.zeros([x.shape[1], hidden], x.dtype)
    attributes = {
        "api_implements": f"lstm_{tf.compat.v1.get_default_graph().unique_name('layer')}",
        "time_major": True,
        "go_backwards": False,
    }
    layer = tf.function(_layer, autograph=False, experimental_attributes=attributes)
    _, outputs, *_ = layer(x, zeros, zeros, *weights, ctx.weight(bias[order]))
    outputs = tf.ensure_shape(outputs, [*x.shape[:2], hidden])
    return outputs, [outputs[-1], zeros]


def _layer(
    x: Tensor, hidden: Tensor, cell: Tensor, kernel: Tensor, recurrent_kernel: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run Keras' LSTM layer, gates i, f, c, o; returns the last output, all outputs, the last states, and a device number."""
    length = x.shape[0]

    def step(t: Tensor, outputs: tf.TensorArray, h: Tensor, c: Tensor) -> tuple[Tensor, tf.TensorArray, Tensor, Tensor]:
        i, f, g, o = tf.split(x[t] @ kernel + h @ recurrent_kernel + bias, 4, -1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h = tf.sigmoid(o) * tf.tanh(c)
        return t + 1, outputs.write(t, h), h, c

    outputs = tf.TensorArray(x.dtype, size=length, element_shape=hidden.shape)
    _, outputs, h, c = tf.while_loop(lambda t, *_: t < length, step, [tf.constant(0), outputs, hidden, cell])
    return h, outputs.stack(), h, c, tf.constant(0.0)

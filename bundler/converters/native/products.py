"""Matrix products that are right where a size is 0.

TensorFlow's optimizer (core/grappler/optimizers/remapper.cc) fuses a product with the bias, the scale and the activation after
it. The fused kernels are wrong for an empty inner axis: _FusedMatMul returns zeros without the bias, or with oneDNN aborts the
process (for an empty last axis, too), and oneDNN's _FusedBatchMatMulV2 leaves out the addend. The kernels of the parts are right.
So a product whose sizes are known only at run time is not fused; one with a weight of known sizes, as nearly all have, is.
"""

from __future__ import annotations

import tensorflow as tf

from bundler.converters.native.tensors import Tensor


def matmul(a: Tensor, b: Tensor, *, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
    """Return a' @ b' (tf.matmul), which TensorFlow may fuse with what follows only if that is right for all sizes."""
    product = tf.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)
    inner = a.shape[-2 if transpose_a else -1] or b.shape[-1 if transpose_b else -2]
    if inner and (product.shape.rank != 2 or product.shape[-1]):
        return product
    return unfused(product)


def unfused(tensor: Tensor) -> Tensor:
    """Return the tensor as one that TensorFlow's optimizer does not fuse with what reads it.

    EnsureShape returns its input without a copy. The optimizer neither removes it nor looks through it.
    """
    return tf.raw_ops.EnsureShape(input=tensor, shape=tensor.shape)

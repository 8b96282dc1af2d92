"""float16 and bfloat16 computed in float32, and rounded once.

TensorFlow's kernels sum half precision in half precision in many places: the sums of a mean over 8,192 rows of float16, of an
average pool or a cumulative sum stop growing at 2,048, those of bfloat16 at 256 (TensorFlow 2.21, CPU). PyTorch computes sums,
normalizations and activations in float32 and rounds the result.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

import tensorflow as tf

from bundler.converters.native.tensors import Tensor

P = ParamSpec("P")


def is_half(dtype: tf.DType) -> bool:
    """Return True for float16 and bfloat16."""
    return dtype in (tf.float16, tf.bfloat16)


def single(x: Tensor) -> Tensor:
    """Cast half precision to float32; other tensors are returned as they are."""
    return tf.cast(x, tf.float32) if is_half(x.dtype) else x


def in_single(compute: Callable[Concatenate[Tensor, P], Tensor]) -> Callable[Concatenate[Tensor, P], Tensor]:
    """Return the function that computes in float32 if its first argument is in half precision, and rounds the result to that.

    Other tensors among the arguments are cast too if they are in half precision.
    """

    @wraps(compute)
    def computed(x: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        if not is_half(x.dtype):
            return compute(x, *args, **kwargs)
        operands = (single(a) if tf.is_tensor(a) else a for a in args)
        return tf.cast(compute(single(x), *operands, **kwargs), x.dtype)  # type: ignore[arg-type]

    return computed

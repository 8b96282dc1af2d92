"""Weights: constants of the model as tf.Variables, one per distinct content, shared between signatures."""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from bundler.values.arrays import Array

_VARIABLE_BYTES = 64 << 10
"""Floating-point constants of at least this size are variables. Smaller ones stay in the graph, where TensorFlow folds them
and its kernels keep their re-ordered form from call to call: MobileNetV3 is 8 % faster with 64 KiB than with 1 KiB."""

_LARGE_BYTES = 1 << 20
"""Other numeric constants of at least this size are variables too: a GraphDef holds 2 GB at most."""


_untraced = ThreadPoolExecutor(1, thread_name_prefix="weights")
"""A thread in which no function is being traced. Made in a traced function, a variable would count as that function's own:
tf.function would trace the graph a second time and refuse any variable that a later trace adds."""


class WeightStore:
    """Makes each weight once, whichever signature needs it first.

    Args:
        constants_only: make no variables, for graphs that are run once and thrown away.

    Attributes:
        variables: the variables made so far.
    """

    def __init__(self, *, constants_only: bool = False) -> None:
        self._constants_only = constants_only
        self.variables: list[tf.Variable] = []
        self._by_content: dict[bytes, tf.Variable] = {}

    def tensor(self, array: Array, name: str = "") -> tf.Tensor:
        """Return an array as a tensor of the current graph: the value of a shared variable if it is large, otherwise a constant.

        Args:
            array: numbers, or strings as an object array.
            name: the variable's name.
        """
        if array.dtype.kind in "OUS":
            return tf.constant(array.astype(object) if array.dtype.kind == "U" else array, tf.string)
        if not self._is_weight(array):
            return tf.constant(array)
        return self._variable(np.ascontiguousarray(array), name).value()

    def _is_weight(self, array: Array) -> bool:
        floating = array.dtype.kind in "fcV"
        return not self._constants_only and array.nbytes >= (_VARIABLE_BYTES if floating else _LARGE_BYTES)

    def _variable(self, array: Array, name: str) -> tf.Variable:
        digest = hashlib.blake2b(array.view(np.uint8).reshape(-1).data, digest_size=16)
        digest.update(f"{array.dtype}{array.shape}".encode())
        key = digest.digest()
        if key not in self._by_content:
            variable = _untraced.submit(tf.Variable, array, trainable=False, name=_scope_name(name)).result()
            self._by_content[key] = variable
            self.variables.append(variable)
        return self._by_content[key]


def _scope_name(name: str) -> str:
    r"""Return a name that TensorFlow accepts for a variable (framework/ops.py: [A-Za-z0-9.][A-Za-z0-9_.\-/]*)."""
    cleaned = re.sub(r"[^A-Za-z0-9_.\-/]", "_", name).lstrip("_-/")
    return cleaned or "weight"

"""Stand-ins for modules that onnx-tf 1.10 (2022) imports and today's packages no longer have.

- `onnx.mapping`: removed in onnx 1.19; its tables are rebuilt from `onnx.helper`'s functions.
- `tensorflow_addons`: discontinued in 2024; it has no wheel for Python 3.12 and cannot be imported beside Keras 3.
  onnx-tf uses only `seq2seq.hardmax` from it.
- `tensorflow_probability`: onnx-tf uses only `distributions.Bernoulli` from it.

Only the worker process installs them; the process that builds a bundle never sees them.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import onnx
from onnx import TensorProto, helper

# These share their NumPy type with another ONNX type, which is the one that a NumPy type maps to.
_NO_NUMPY_TYPE_OF_THEIR_OWN = (TensorProto.UNDEFINED, TensorProto.BFLOAT16)


def install() -> None:
    """Make the stand-ins importable in this process, in place of any installed package of the same name."""
    mapping = onnx_mapping()
    onnx.mapping = mapping  # type: ignore[attr-defined]
    helper.mapping = mapping  # type: ignore[attr-defined]
    for module in (mapping, *tensorflow_addons(), *tensorflow_probability()):
        sys.modules[module.__name__] = module


def onnx_mapping() -> ModuleType:
    """Return a module with the tables of `onnx.mapping` as of onnx 1.12."""
    module = ModuleType("onnx.mapping")
    types = [t for t in TensorProto.DataType.values() if t != TensorProto.UNDEFINED]
    to_numpy = {t: helper.tensor_dtype_to_np_dtype(t) for t in types}
    storage = {t: helper.tensor_dtype_to_storage_tensor_dtype(t) for t in types}
    vars(module).update(
        TENSOR_TYPE_TO_NP_TYPE=to_numpy,
        NP_TYPE_TO_TENSOR_TYPE={n: t for t, n in to_numpy.items() if t not in _NO_NUMPY_TYPE_OF_THEIR_OWN},
        TENSOR_TYPE_TO_STORAGE_TENSOR_TYPE=storage,
        STORAGE_TENSOR_TYPE_TO_FIELD={s: helper.tensor_dtype_to_field(s) for s in storage.values()},
    )
    return module


def tensorflow_addons() -> tuple[ModuleType, ModuleType]:
    """Return modules with `tensorflow_addons.seq2seq.hardmax`: one-hot of the largest logit along the last axis."""
    import tensorflow as tf

    def hardmax(logits: Any, name: str | None = None) -> Any:
        logits = tf.convert_to_tensor(logits)
        depth = logits.shape[-1] if logits.shape[-1] is not None else tf.shape(logits)[-1]
        return tf.one_hot(tf.argmax(logits, -1), depth, dtype=logits.dtype, name=name)

    addons, seq2seq = ModuleType("tensorflow_addons"), ModuleType("tensorflow_addons.seq2seq")
    vars(seq2seq).update(hardmax=hardmax)
    vars(addons).update(seq2seq=seq2seq)
    return addons, seq2seq


def tensorflow_probability() -> tuple[ModuleType, ModuleType]:
    """Return modules with `tensorflow_probability.distributions.Bernoulli`: its `probs`, `dtype` and `sample(seed=…)`."""
    import tensorflow as tf

    class Bernoulli:
        def __init__(self, probs: Any, dtype: Any = tf.int32) -> None:
            self._probs = tf.convert_to_tensor(probs)
            self._dtype = dtype

        def sample(self, seed: int | None = None) -> Any:
            uniform = tf.random.uniform(tf.shape(self._probs), dtype=self._probs.dtype, seed=seed)
            return tf.cast(uniform < self._probs, self._dtype)

    probability = ModuleType("tensorflow_probability")
    distributions = ModuleType("tensorflow_probability.distributions")
    vars(distributions).update(Bernoulli=Bernoulli)
    vars(probability).update(distributions=distributions)
    return probability, distributions

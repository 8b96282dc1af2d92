"""Input adapter for token ids: the mask of the padding is made from the ids in the graph.

A server that pads requests of different lengths into one batch pads a mask with its own first value, 1, so that padding would
count. A mask that is made from the ids is right: a token counts unless it and all that follow are the padding id, or the row's
first id, with which the server pads. Rows therefore begin with one id, which does not end them, such as [CLS].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bundler.adapters.adapter import AdapterCall, check_batched
from bundler.errors import UsageError
from bundler.spec.signature_spec import MaskSpec
from bundler.values.arrays import Array
from bundler.values.signature import TensorSpec


class MaskAdapter:
    """Makes the mask, and segment ids of zeros, from the token ids.

    Args:
        name: the derived signature.
        base_inputs: inputs of the wrapped signature.
        spec: the `mask` section of the signature's spec.

    Raises:
        UsageError: the model has no such inputs, or their types or sizes do not fit.
    """

    resources: tuple[Any, ...] = ()

    def __init__(self, name: str, base_inputs: Sequence[TensorSpec], spec: MaskSpec) -> None:
        check_batched(name, base_inputs, "input")
        by_name = {base_input.name: base_input for base_input in base_inputs}
        self._ids = _find(name, "ids", spec.ids, by_name)
        self._mask = _find(name, "mask", spec.mask, by_name)
        self._types = by_name.get(spec.types) if spec.types else None
        self._pad = spec.pad_id
        made = [spec for spec in (self._mask, self._types) if spec]
        for target in made:
            if target.dims != self._ids.dims:
                raise UsageError(
                    f"signatures.{name}.mask: the input {target} has other sizes than {self._ids}.",
                    fix="name inputs of one size: ids, mask and types",
                    code="TFB1302",
                )
        self.inputs: tuple[TensorSpec, ...] = tuple(other for other in base_inputs if other not in made)

    def __call__(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Add the mask and the segment ids; other inputs pass through."""
        import tensorflow as tf

        ids = tensors[self._ids.name]
        is_token = tf.logical_and(tf.not_equal(ids, ids[:, :1]), tf.not_equal(ids, tf.constant(self._pad, ids.dtype)))
        following = tf.cumsum(tf.cast(is_token, tf.int32), axis=1, reverse=True)
        is_first = tf.equal(tf.range(tf.shape(ids)[1]), 0)[None]
        mask = tf.logical_or(following > 0, is_first)
        made = {self._mask.name: tf.cast(mask, self._mask.dtype)}
        if self._types:
            made[self._types.name] = tf.zeros_like(ids, self._types.dtype)
        return {**tensors, **made}

    def calls(self, base_calls: Sequence[AdapterCall]) -> list[AdapterCall]:
        """Build a call from each base call: rows that begin alike, every second one padded (see `InputAdapter.calls`)."""
        calls = []
        for call in base_calls:
            ids = call.base_inputs[self._ids.name].copy()
            length = ids.shape[1]
            ids[:, :1] = ids[:1, :1]
            ids[1::2, length - length // 3 :] = self._pad
            made = {self._mask.name: self._expected(ids).astype(self._mask.dtype)}
            if self._types:
                made[self._types.name] = np.zeros_like(ids, self._types.dtype)
            inputs = {**{spec.name: call.inputs[spec.name] for spec in self.inputs}, self._ids.name: ids}
            calls.append(AdapterCall(call.name, inputs, {**call.base_inputs, self._ids.name: ids, **made}))
        return calls

    def _expected(self, ids: Array) -> Array:
        """Return the mask in NumPy: 1 up to the last id of each row that is neither padding nor the row's first."""
        mask = np.zeros(ids.shape, bool)
        for row, values in enumerate(ids.tolist()):
            places = [place for place, value in enumerate(values) if value not in (values[0], self._pad)]
            mask[row, : max(places, default=0) + 1] = True
        return mask


def _find(name: str, role: str, wanted: str, by_name: Mapping[str, TensorSpec]) -> TensorSpec:
    found = by_name.get(wanted)
    if found is None or len(found.dims) != 2 or (role == "ids" and found.dtype not in ("int32", "int64")):
        reason = f"is {found}" if found else "does not exist"
        raise UsageError(
            f"signatures.{name}.mask.{role}: the input {wanted!r} {reason}; it has to be [batch, tokens], ids int32 or int64.",
            fix=f"name the model's input with {role}: one of {', '.join(by_name)}",
            code="TFB1302",
        )
    return found

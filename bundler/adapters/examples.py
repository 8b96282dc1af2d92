"""Serialized tf.Examples as input: `inputs`, string [batch], parsed in the graph.

1. Every input of the signature behind is one feature: float32 (from floats), int64 (from integers and bool) or string. Another
   name, dtype or shape is declared; the elements of one example are as many.
2. The first dim behind the batch may be dynamic (a sequence): shorter examples of a request are filled up with 0, as
   `tf.io.FixedLenSequenceFeature` does. No other dim may.
3. A missing feature or one of another kind or size is refused by TensorFlow with INVALID_ARGUMENT and its name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bundler.adapters.adapter import BATCH, AdapterCall, byte_strings, check_batched, rows_of
from bundler.errors import UsageError
from bundler.spec.signature_spec import ExamplesSpec
from bundler.values.arrays import Array
from bundler.values.signature import Dim, TensorSpec

INPUT = "inputs"
"""The alias that Classify and Regress read (tensorflow/cc/saved_model/signature_constants.h)."""


@dataclass(frozen=True)
class Feature:
    """One feature of an example.

    Attributes:
        target: the input of what is behind.
        dims: of one example; the first may be dynamic.
    """

    target: TensorSpec
    name: str
    dtype: str
    dims: tuple[Dim, ...]

    @property
    def is_sequence(self) -> bool:
        return bool(self.dims) and not isinstance(self.dims[0], int)


class ExamplesAdapter:
    """Parses examples.

    Raises:
        UsageError: an input of what is behind cannot be a feature, or a declaration does not fit it.
    """

    resources: tuple[Any, ...] = ()

    def __init__(self, name: str, behind: Sequence[TensorSpec], spec: ExamplesSpec) -> None:
        check_batched(name, behind, "input")
        unknown = sorted(set(spec.features) - {one.name for one in behind})
        if unknown:
            raise UsageError(
                f"signatures.{name}.examples.features names {unknown[0]!r}, which is no input of what is behind.",
                fix=f"one of: {', '.join(one.name for one in behind)}",
            )
        self.inputs: tuple[TensorSpec, ...] = (TensorSpec(INPUT, "string", (BATCH,)),)
        self.features = tuple(_feature(name, one, spec.features.get(one.name)) for one in behind)

    def __call__(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        import tensorflow as tf

        parsed = tf.io.parse_example(tensors[INPUT], {one.name: _parser(one) for one in self.features})
        made = {}
        for one in self.features:
            own = [-1, *(-1 if not isinstance(dim, int) else dim for dim in one.target.dims[1:])]
            shaped = parsed[one.name] if one.is_sequence else tf.reshape(parsed[one.name], own)
            made[one.target.name] = tf.cast(shaped, one.target.dtype)
        return made

    def calls(self, behind: Sequence[AdapterCall]) -> list[AdapterCall]:
        return [self._call(call) for call in behind]

    def _call(self, call: AdapterCall) -> AdapterCall:
        held = {one.target.name: _held(one, call.given[one.target.name]) for one in self.features}
        rows = [self._serialized(held, row) for row in range(rows_of(call))]
        # What an int64 feature holds of a float input is its whole part: that is what reaches the model.
        reached = {
            one.target.name: held[one.target.name].astype(call.given[one.target.name].dtype) for one in self.features
        }
        behind = {name: reached.get(name, array) for name, array in call.behind.items()}
        return AdapterCall(call.name, {INPUT: byte_strings(rows)}, behind)

    def _serialized(self, held: Mapping[str, Array], row: int) -> bytes:
        from serving.protocol.messages import message

        example = message("tensorflow.Example")()
        for one in self.features:
            feature = example.features.feature[one.name]
            values = held[one.target.name][row : row + 1].ravel().tolist()
            if one.dtype == "string":
                feature.bytes_list.value.extend(v if isinstance(v, bytes) else str(v).encode() for v in values)
            elif one.dtype == "int64":
                feature.int64_list.value.extend(map(int, values))
            else:
                feature.float_list.value.extend(values)
        data: bytes = example.SerializeToString(deterministic=True)
        return data


def _feature(name: str, target: TensorSpec, declared: str | None) -> Feature:
    if declared is not None:
        said = TensorSpec.parse(declared)
        sizes = [dim for dim in target.dims[1:] if isinstance(dim, int)]
        if len(sizes) + 1 != len(target.dims) or math.prod(sizes) != math.prod(said.shape):  # type: ignore[arg-type]
            raise UsageError(
                f"signatures.{name}.examples: the feature {declared} does not fill the input {target}.",
                fix=f"give it {math.prod(sizes)} element(s) an example, e.g. {said.name}={said.dtype}[{math.prod(sizes)}]",
            )
        if (said.dtype == "string") != (target.dtype == "string"):
            raise UsageError(f"signatures.{name}.examples: the feature {declared} cannot become the input {target}.")
        return Feature(target, said.name, said.dtype, said.dims)
    dims = target.dims[1:]
    if any(not isinstance(dim, int) for dim in dims[1:]):
        raise UsageError(
            f"The signature {name!r} cannot read the input {target} from tf.Examples: only its first dim behind the batch may "
            "be dynamic.",
            fix="build the model with fixed sizes for the others",
        )
    return Feature(target, target.name, _held_as(name, target), dims)


def _held_as(name: str, target: TensorSpec) -> str:
    if target.dtype == "string":
        return "string"
    if target.dtype == "bool" or target.dtype.startswith(("int", "uint")):
        return "int64"
    if target.dtype.startswith(("float", "bfloat")):
        return "float32"
    raise UsageError(f"The signature {name!r} cannot read the input {target} from tf.Examples, which hold no {target.dtype}.")


def _parser(feature: Feature) -> Any:
    import tensorflow as tf

    dtype = tf.as_dtype(feature.dtype)
    if feature.is_sequence:
        return tf.io.FixedLenSequenceFeature(list(feature.dims[1:]), dtype, allow_missing=True)
    return tf.io.FixedLenFeature(list(feature.dims), dtype)


def _held(feature: Feature, array: Array) -> Array:
    if feature.dtype == "string":
        return array
    return array.astype(np.dtype(feature.dtype))

"""Input adapter for serialized tf.Examples: `inputs`, string [batch], parsed in the graph.

1. Every input of the wrapped signature is one feature: float32 (from floats), int64 (from integers and bool) or string. The spec
   can declare another name, dtype or shape, with the same number of elements per example.
2. The first dim after the batch may be dynamic (a sequence): shorter examples of a request are padded with 0, as
   `tf.io.FixedLenSequenceFeature` does. No other dim may be dynamic.
3. TensorFlow rejects a feature that is missing or has another kind or size with INVALID_ARGUMENT and the feature's name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bundler.adapters.adapter import BATCH, AdapterCall, batch_size, byte_strings, check_batched
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
        target: the input of the wrapped signature that the feature fills.
        name: the feature's key.
        dtype: float32, int64 or string.
        dims: the dims of one example; the first may be dynamic.
    """

    target: TensorSpec
    name: str
    dtype: str
    dims: tuple[Dim, ...]

    @property
    def is_sequence(self) -> bool:
        """Whether the feature's length may vary between examples."""
        return bool(self.dims) and not isinstance(self.dims[0], int)


class ExamplesAdapter:
    """Parses tf.Examples into the inputs of the wrapped signature.

    Args:
        name: the derived signature.
        base_inputs: inputs of the wrapped signature.
        spec: the `examples` section of the signature's spec.

    Raises:
        UsageError: an input cannot be read from a feature, or a declared feature does not fit its input.
    """

    resources: tuple[Any, ...] = ()

    def __init__(self, name: str, base_inputs: Sequence[TensorSpec], spec: ExamplesSpec) -> None:
        check_batched(name, base_inputs, "input")
        unknown = sorted(set(spec.features) - {target.name for target in base_inputs})
        if unknown:
            raise UsageError(
                f"signatures.{name}.examples.features names {unknown[0]!r}, which is not an input of the base signature.",
                fix=f"choose one of: {', '.join(target.name for target in base_inputs)}",
                code="TFB1301",
            )
        self.inputs: tuple[TensorSpec, ...] = (TensorSpec(INPUT, "string", (BATCH,)),)
        self.features = tuple(_feature(name, target, spec.features.get(target.name)) for target in base_inputs)

    def __call__(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Parse the examples into the inputs of the wrapped signature."""
        import tensorflow as tf

        parsed = tf.io.parse_example(tensors[INPUT], {feature.name: _parser(feature) for feature in self.features})
        base_inputs = {}
        for feature in self.features:
            shape = [-1, *(-1 if not isinstance(dim, int) else dim for dim in feature.target.dims[1:])]
            shaped = parsed[feature.name] if feature.is_sequence else tf.reshape(parsed[feature.name], shape)
            base_inputs[feature.target.name] = tf.cast(shaped, feature.target.dtype)
        return base_inputs

    def calls(self, base_calls: Sequence[AdapterCall]) -> list[AdapterCall]:
        """Build calls whose examples hold the arrays of the base calls (see `InputAdapter.calls`)."""
        return [self._call(call) for call in base_calls]

    def _call(self, call: AdapterCall) -> AdapterCall:
        values = {feature.target.name: _feature_values(feature, call.inputs[feature.target.name]) for feature in self.features}
        rows = [self._serialized(values, row) for row in range(batch_size(call))]
        # An int64 feature truncates a float input, and the truncated value is what reaches the model.
        parsed = {name: array.astype(call.inputs[name].dtype) for name, array in values.items()}
        base_inputs = {name: parsed.get(name, array) for name, array in call.base_inputs.items()}
        return AdapterCall(call.name, {INPUT: byte_strings(rows)}, base_inputs)

    def _serialized(self, values: Mapping[str, Array], row: int) -> bytes:
        from serving.protocol.messages import message

        example = message("tensorflow.Example")()
        for feature in self.features:
            entry = example.features.feature[feature.name]
            elements = values[feature.target.name][row : row + 1].ravel().tolist()
            if feature.dtype == "string":
                entry.bytes_list.value.extend(v if isinstance(v, bytes) else str(v).encode() for v in elements)
            elif feature.dtype == "int64":
                entry.int64_list.value.extend(map(int, elements))
            else:
                entry.float_list.value.extend(elements)
        data: bytes = example.SerializeToString(deterministic=True)
        return data


def _feature(name: str, target: TensorSpec, declaration: str | None) -> Feature:
    if declaration is not None:
        return _declared_feature(name, target, declaration)
    dims = target.dims[1:]
    if any(not isinstance(dim, int) for dim in dims[1:]):
        raise UsageError(
            f"The signature {name!r} cannot read the input {target} from tf.Examples: only the first dim after the batch may "
            "be dynamic.",
            fix="build the model with fixed sizes for the other dims",
            code="TFB1302",
        )
    return Feature(target, target.name, _feature_dtype(name, target), dims)


def _declared_feature(name: str, target: TensorSpec, declaration: str) -> Feature:
    spec = TensorSpec.parse(declaration)
    sizes = [dim for dim in target.dims[1:] if isinstance(dim, int)]
    if len(sizes) + 1 != len(target.dims) or math.prod(sizes) != math.prod(spec.shape):  # type: ignore[arg-type]
        count = math.prod(sizes)
        raise UsageError(
            f"signatures.{name}.examples: the feature {declaration} does not fill the input {target}.",
            fix=f"its size per example must be {count}, e.g. {spec.name}={spec.dtype}[{count}]",
            code="TFB1302",
        )
    if (spec.dtype == "string") != (target.dtype == "string"):
        raise UsageError(
            f"signatures.{name}.examples: the feature {declaration} cannot be converted to the input {target}.",
            code="TFB1302",
        )
    return Feature(target, spec.name, spec.dtype, spec.dims)


def _feature_dtype(name: str, target: TensorSpec) -> str:
    if target.dtype == "string":
        return "string"
    if target.dtype == "bool" or target.dtype.startswith(("int", "uint")):
        return "int64"
    if target.dtype.startswith(("float", "bfloat")):
        return "float32"
    raise UsageError(
        f"The signature {name!r} cannot read the input {target} from tf.Examples, which cannot hold {target.dtype}.",
        code="TFB1302",
    )


def _parser(feature: Feature) -> Any:
    import tensorflow as tf

    dtype = tf.as_dtype(feature.dtype)
    if feature.is_sequence:
        return tf.io.FixedLenSequenceFeature(list(feature.dims[1:]), dtype, allow_missing=True)
    return tf.io.FixedLenFeature(list(feature.dims), dtype)


def _feature_values(feature: Feature, array: Array) -> Array:
    if feature.dtype == "string":
        return array
    return array.astype(np.dtype(feature.dtype))

"""float32 inputs and outputs for a half-precision model.

JSON has no float16 and no bfloat16, few clients support them, and TensorFlow Serving refuses both over REST (501 for inputs,
400 for outputs; util/json_tensor.cc). The casts are part of the ONNX graph, so everything made from it has them; between
them, the model computes in its own precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from bundler.errors import UsageError
from bundler.graph.in_float32 import HALVES, arrays_in_float32
from bundler.values.arrays import Array
from bundler.values.exported import ExportedSignature, Offloadable, ReferenceFn
from bundler.values.signature import Signature, TensorSpec

_HALF = {ir.DataType.FLOAT16: 10, ir.DataType.BFLOAT16: 16}
_FLOAT = 1


def cast_signatures(exported: tuple[ExportedSignature, ...]) -> tuple[ExportedSignature, ...]:
    """Return the signatures with float32 in place of float16 and bfloat16, and rewrite their files.

    Raises:
        UsageError: no signature has an input or output of these types.
    """
    if not any(_halves(each.signature) for each in exported):
        specs = ", ".join(str(spec) for spec in (*exported[0].signature.inputs, *exported[0].signature.outputs))
        raise UsageError(
            f"cast_half has nothing to cast: the model has no float16 or bfloat16 inputs or outputs ({specs}).",
            fix="omit cast_half, or give the model in half precision, e.g. model.half()",
            code="TFB1001",
        )
    return tuple(_cast(signature) if _halves(signature.signature) else signature for signature in exported)


def _halves(signature: Signature) -> dict[str, str]:
    return {spec.name: spec.dtype for spec in (*signature.inputs, *signature.outputs) if spec.dtype in HALVES}


def _cast(exported: ExportedSignature) -> ExportedSignature:
    _rewrite(exported.onnx)
    dtypes = {spec.name: spec.dtype for spec in exported.signature.inputs if spec.dtype in HALVES}
    signature = Signature(tuple(map(_float, exported.signature.inputs)), tuple(map(_float, exported.signature.outputs)))
    examples = {name: a.astype(np.float32) if name in dtypes else a for name, a in exported.examples.items()}
    kind = _FullCast if isinstance(exported.reference, Offloadable) else _CastReference
    return replace(exported, signature=signature, examples=examples, reference=kind(exported.reference, dtypes))


def _float(spec: TensorSpec) -> TensorSpec:
    return replace(spec, dtype="float32") if spec.dtype in HALVES else spec


class _CastReference:
    """The half-precision reference between the same casts. `dtypes` has the dtype of each input in half precision."""

    def __init__(self, base: ReferenceFn, dtypes: Mapping[str, str]) -> None:
        self._base, self._dtypes = base, dtypes

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return arrays_in_float32(self._base(self._in_half(inputs)))

    def _in_half(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        import ml_dtypes

        types: dict[str, Any] = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
        return {n: a.astype(types[self._dtypes[n]]) if n in self._dtypes else a for n, a in inputs.items()}


class _FullCast(_CastReference):
    """The reference of a model with weights: see `Offloadable` and `InFloat32` of `bundler.values.exported`."""

    def in_float32(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        base: Any = self._base
        outputs: dict[str, Array] = base.in_float32(self._in_half(inputs))
        return outputs

    def offload_weights(self, folder: Path) -> None:
        base: Any = self._base
        base.offload_weights(folder)


def _rewrite(path: Path) -> None:
    """Put a Cast behind each half-precision input and each half-precision output of an ONNX file."""
    model = ir.load(path)
    graph = model.graph
    for index, value in enumerate(graph.inputs):
        if value.dtype in _HALF:
            float_input = ir.Value(name=value.name, shape=value.shape, type=ir.TensorType(ir.DataType.FLOAT))
            node = _cast_node(float_input, _HALF[value.dtype], f"{value.name}_to_half")
            value.replace_all_uses_with(node.outputs[0], replace_graph_outputs=True)
            graph.inputs[index] = float_input
            graph.insert_before(graph[0], node)
    for index, value in enumerate(graph.outputs):
        if value.dtype in _HALF:
            node = _cast_node(value, _FLOAT, value.name or "")
            value.name = f"{value.name}_in_half"
            node.outputs[0].shape, node.outputs[0].type = value.shape, ir.TensorType(ir.DataType.FLOAT)
            graph.append(node)
            graph.outputs[index] = node.outputs[0]
    ir.save(model, path)


def _cast_node(value: ir.Value, to: int, name: str) -> ir.Node:
    node = ir.node("Cast", [value], attributes={"to": to}, num_outputs=1, name=f"{name}_cast")
    node.outputs[0].name = name
    if to != _FLOAT:
        node.outputs[0].type, node.outputs[0].shape = ir.TensorType(ir.DataType(to)), value.shape
    return node

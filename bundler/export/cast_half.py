"""A float32 signature around a half-precision model: JSON has no float16 and no bfloat16, and few clients do.

TensorFlow Serving refuses both over REST (501 for inputs, 400 for outputs; util/json_tensor.cc). The casts stand in the ONNX
graph, so that everything made of it has them; inside, the model computes in its own precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from bundler.errors import UsageError
from bundler.values.arrays import Array
from bundler.values.exported import ExportedSignature, Offloadable, ReferenceFn
from bundler.values.signature import Signature, TensorSpec

HALVES = ("float16", "bfloat16")
_HALF = {ir.DataType.FLOAT16: 10, ir.DataType.BFLOAT16: 16}
_FLOAT = 1


def cast_ends(exported: tuple[ExportedSignature, ...]) -> tuple[ExportedSignature, ...]:
    """The signatures with float32 in place of float16 and bfloat16; their files are written anew.

    Raises:
        UsageError: none has an input or output of these types.
    """
    if not any(_halves(one.signature) for one in exported):
        listed = ", ".join(str(spec) for spec in (*exported[0].signature.inputs, *exported[0].signature.outputs))
        raise UsageError(
            f"cast_half has nothing to cast: the model has no float16 or bfloat16 at its ends ({listed}).",
            fix="leave cast_half out, or give the model in half precision, e.g. model.half()",
        )
    return tuple(_cast(one) if _halves(one.signature) else one for one in exported)


def _halves(signature: Signature) -> dict[str, str]:
    return {spec.name: spec.dtype for spec in (*signature.inputs, *signature.outputs) if spec.dtype in HALVES}


def _cast(one: ExportedSignature) -> ExportedSignature:
    _rewrite(one.onnx)
    taken = {spec.name: spec.dtype for spec in one.signature.inputs if spec.dtype in HALVES}
    signature = Signature(tuple(map(_float, one.signature.inputs)), tuple(map(_float, one.signature.outputs)))
    examples = {name: array.astype(np.float32) if name in taken else array for name, array in one.examples.items()}
    kind = _ParkableCast if isinstance(one.reference, Offloadable) else _CastReference
    return replace(one, signature=signature, examples=examples, reference=kind(one.reference, taken))


def _float(spec: TensorSpec) -> TensorSpec:
    return replace(spec, dtype="float32") if spec.dtype in HALVES else spec


class _CastReference:
    """PyTorch behind the casts."""

    def __init__(self, inner: ReferenceFn, taken: Mapping[str, str]) -> None:
        self._inner, self._taken = inner, taken

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        import ml_dtypes

        types: dict[str, Any] = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
        given = {name: a.astype(types[self._taken[name]]) if name in self._taken else a for name, a in inputs.items()}
        answer = self._inner(given)
        return {name: a.astype(np.float32) if a.dtype.name in HALVES else a for name, a in answer.items()}


class _ParkableCast(_CastReference):
    def park(self, folder: Path) -> None:
        """As `bundler.values.exported.Offloadable`."""
        inner: Any = self._inner
        inner.park(folder)


def _rewrite(path: Path) -> None:
    model = ir.load(path)
    graph = model.graph
    for index, value in enumerate(graph.inputs):
        if value.dtype in _HALF:
            given = ir.Value(name=value.name, shape=value.shape, type=ir.TensorType(ir.DataType.FLOAT))
            node = _node(given, _HALF[value.dtype], f"{value.name}_to_half")
            value.replace_all_uses_with(node.outputs[0], replace_graph_outputs=True)
            graph.inputs[index] = given
            graph.insert_before(graph[0], node)
    for index, value in enumerate(graph.outputs):
        if value.dtype in _HALF:
            node = _node(value, _FLOAT, value.name or "")
            value.name = f"{value.name}_in_half"
            node.outputs[0].shape, node.outputs[0].type = value.shape, ir.TensorType(ir.DataType.FLOAT)
            graph.append(node)
            graph.outputs[index] = node.outputs[0]
    ir.save(model, path)


def _node(value: ir.Value, to: int, name: str) -> ir.Node:
    node = ir.node("Cast", [value], attributes={"to": to}, num_outputs=1, name=f"{name}_cast")
    node.outputs[0].name = name
    if to != _FLOAT:
        node.outputs[0].type, node.outputs[0].shape = ir.TensorType(ir.DataType(to)), value.shape
    return node

"""Compares the engine with ONNX Runtime on small ONNX models: dtype, shape, then values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from bundler.converters.native.model import NativeModel
from bundler.graph.load import from_proto
from bundler.graph.normalize import normalize
from bundler.graph.onnx_runtime import EXACT_INTEGERS
from bundler.values.arrays import Array


def array(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Array:
    """Return standard normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    constants: Mapping[str, Array] | None = None,
    *,
    opset: int = 18,
    domains: Mapping[str, int] | None = None,
    dynamic: Mapping[str, Sequence[str | int | None]] | None = None,
) -> onnx.ModelProto:
    """Return a model whose inputs have these arrays' dtypes and shapes.

    Args:
        domains: versions of other operator sets.
        dynamic: all dims of an input; by default its first dim is dynamic and the others are known.
    """
    declared = []
    for name, value in inputs.items():
        dims = (dynamic or {}).get(name, dims_of(name, value, inputs))
        declared.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), dims))
    results = [onnx.ValueInfoProto(name=name) for name in outputs]
    weights = [numpy_helper.from_array(v, k) for k, v in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "test", declared, results, weights)
    versions = {"": opset, **(domains or {})}
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*v) for v in versions.items()], ir_version=9)
    return typed(onnx.shape_inference.infer_shapes(model))


def dims_of(name: str, value: Array, inputs: Mapping[str, Array]) -> list[str | int]:
    """Return the dims of an input with a dynamic first one: `batch` if it has the size of the first input's."""
    if not value.ndim:
        return []
    is_batch = value.shape[:1] == next(iter(inputs.values())).shape[:1]
    return ["batch" if is_batch else f"{name}_rows", *value.shape[1:]]


def typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the dtypes of its outputs; those that ONNX cannot infer come from ONNX Runtime."""
    unknown = [o for o in model.graph.output if not o.type.tensor_type.elem_type]
    if unknown:
        session = onnxruntime.InferenceSession(model.SerializeToString())
        types = {o.name: o.type for o in session.get_outputs()}
        for output in unknown:
            name = types[output.name].removeprefix("tensor(").removesuffix(")").upper()
            output.type.tensor_type.elem_type = onnx.TensorProto.DataType.Value(name)
    return model


def native(model: onnx.ModelProto, **options: Any) -> NativeModel:
    """Convert a model."""
    return NativeModel({"serving_default": normalize(from_proto(model))}, **options)


def assert_agrees(
    model: onnx.ModelProto, *inputs: Mapping[str, Array], rtol: float = 1e-4, atol: float = 1e-5, optimized: bool = True
) -> NativeModel:
    """Convert a model and compare it with ONNX Runtime for each of these inputs; return the converted model.

    Args:
        optimized: whether ONNX Runtime may fuse nodes.
    """
    converted = native(model)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(*EXACT_INTEGERS)
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    names = [o.name for o in session.get_outputs()]
    for arrays in inputs:
        results = converted(**arrays)
        for name, want in zip(names, session.run(None, dict(arrays)), strict=True):
            got = results[name].numpy()
            assert got.dtype == want.dtype, f"{name}: {got.dtype}, ONNX Runtime {want.dtype}"
            assert got.shape == want.shape, f"{name}: {got.shape}, ONNX Runtime {want.shape}"
            if want.dtype == object:
                assert [t.decode() for t in got.reshape(-1)] == list(want.reshape(-1)), name
                continue
            np.testing.assert_allclose(got, want, rtol=rtol, atol=atol, err_msg=name)
    return converted


def assert_node_agrees(
    op_type: str,
    inputs: Mapping[str, Array],
    constants: Mapping[str, Array] | None = None,
    *,
    outputs: int = 1,
    opset: int = 18,
    order: Sequence[str] | None = None,
    domain: str = "",
    dynamic: Mapping[str, Sequence[str | int | None]] | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-5,
    **attributes: Any,
) -> None:
    """Compare a node with ONNX Runtime, at this batch size and at twice that; `order` lists its inputs, "" for none."""
    names = list(order) if order is not None else [*inputs, *(constants or {})]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, names, results, domain=domain, **attributes)
    domains = {domain: 1} if domain else None
    model = model_of([node], inputs, results, constants, opset=opset, domains=domains, dynamic=dynamic)
    twice = {k: np.concatenate([v, v[::-1]]) if v.ndim else v for k, v in inputs.items()}
    assert_agrees(model, inputs, twice, rtol=rtol, atol=atol)

"""Helpers for the tests of the fusions: build a model, run one fusion on it, and compare answers."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx_ir.passes import common

from bundler.graph.drop_casts import DropCasts
from bundler.graph.fusion import Fusion
from bundler.graph.infer import infer_shapes
from bundler.graph.load import from_proto
from bundler.graph.opset import raise_opset
from tests.bundler.converters.native.oracle import Array, assert_agrees, model_of


def operators_after(fusion: Fusion, model: onnx.ModelProto) -> list[str]:
    """Return the operators that a fusion leaves, on a graph prepared by the passes that run before it."""
    graph = from_proto(model)
    lift = common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)
    graph = lift(raise_opset(lift(graph).model)).model
    infer_shapes(graph)
    graph = fusion(DropCasts()(graph).model).model
    for value in (v for node in graph.graph for v in node.inputs if v is not None):
        assert value.producer() is not None or value.is_initializer() or value.is_graph_input(), f"nothing computes {value.name}"
    return [node.op_type for node in graph.graph]


def operators_in(model: onnx.ModelProto) -> list[str]:
    """Return the operators of a model, without Constant."""
    return [node.op_type for node in model.graph.node if node.op_type != "Constant"]


def exported(module: Any, inputs: Sequence[Any], opset: int, *, dynamo: bool = False) -> onnx.ModelProto:
    """Export a PyTorch module, with inputs x0, x1 … whose first axis is dynamic, by the older exporter or by dynamo."""
    import torch

    file, names = io.BytesIO(), [f"x{i}" for i in range(len(inputs))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            batch = torch.export.Dim("batch")
            shapes = tuple({0: batch} for _ in inputs)
            program = torch.onnx.export(
                module.eval(), tuple(inputs), opset_version=opset, dynamo=True, input_names=names, dynamic_shapes=shapes,
                verbose=False,
            )  # fmt: skip
            assert program is not None
            return program.model_proto
        torch.onnx.export(
            module.eval(), tuple(inputs), file, opset_version=opset, dynamo=False, input_names=names,
            dynamic_axes={name: {0: "batch"} for name in names},
        )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


def formula(
    lines: Sequence[str], x: Array, constants: Mapping[str, Any], outputs: Sequence[str] = ("y",), dtype: Any = np.float32,
    **inputs: Array,
) -> onnx.ModelProto:  # fmt: skip
    """Build a model from lines `Op a -> c` or `a Op b -> c`, whose nodes are named after their results.

    A Cast states its type: `Cast:float16 a -> c`; a ReduceMean is followed by its axes: `ReduceMean x axes -> m`. Constants have
    the given dtype, unless they are arrays of another dtype than float32.
    """
    nodes = []
    for line in lines:
        *words, _, result = line.split()
        operator, _, to = words.pop(1 if len(words) == 3 and words[0][0].islower() else 0).partition(":")
        attributes = {"to": helper.np_dtype_to_tensor_dtype(np.dtype(to))} if to else {}
        nodes.append(helper.make_node(operator, words, [result], result, **attributes))
    read = {name for node in nodes for name in node.input}
    values = {k: v if isinstance(v, np.ndarray) and v.dtype != np.float32 else np.asarray(v, dtype) for k, v in constants.items()}
    return model_of(nodes, {"x": x, **inputs}, outputs, {k: v for k, v in values.items() if k in read})


def assert_agrees_unfused(model: onnx.ModelProto, *inputs: Mapping[str, Array], rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Call `assert_agrees` without ONNX Runtime's own fusions.

    Its fusion of LayerNormalization takes any exponent for 2, and mixes float16 with float32 (1.32).
    """
    assert_agrees(model, *inputs, rtol=rtol, atol=atol, optimized=False)


def reasons(fusion: Fusion) -> list[str]:
    """Return the reasons for which the fusion left candidates alone."""
    return [match.reason for match in fusion.declined]

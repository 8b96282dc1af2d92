"""Makes .tflite files of one operator without a converter."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from bundler.tflite.flatbuffer import add_metadata, packed


def single_op(
    op: str, version: int, kind: str, *, scales: int = 0, options: str | None = None, dims: tuple[int, ...] = (1, 4)
) -> bytes:
    """Return a file with one operator of two inputs and one output.

    Args:
        op: the operator's name.
        version: its version.
        kind: type of all tensors.
        scales: number of scales of each tensor.
        options: name of the table of its options.
        dims: the sizes of all tensors.
    """
    model, graph, code, node = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT(), schema.OperatorT()
    number = getattr(schema.BuiltinOperator, op)
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version
    graph.tensors = [_tensor(name, kind, scales, dims) for name in ("a", "b", "head/y")]
    graph.inputs, graph.outputs = np.array([0, 1], np.int32), np.array([2], np.int32)
    node.opcodeIndex, node.inputs, node.outputs = 0, graph.inputs, graph.outputs
    if options:
        node.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        node.builtinOptions = getattr(schema, f"{options}T")()
    graph.operators = [node]
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    return add_metadata(packed(model), {"min_runtime_version": b"1.14.0".ljust(16, b"\0")})


def _tensor(name: str, kind: str, scales: int, dims: tuple[int, ...]) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer = name, getattr(schema.TensorType, kind), 0
    tensor.shape = np.array(dims, np.int32)
    if scales:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.full(scales, 0.5, np.float32)
        tensor.quantization.zeroPoint = np.zeros(scales, np.int64)
        tensor.quantization.quantizedDimension = len(dims) - 1
    return tensor

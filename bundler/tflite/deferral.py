"""Lets TensorFlow Serving resize several inputs of a model.tflite.

A session resizes and fills one input after the other, in the order of their indices in the file, and prepares the graph after
each (tensorflow_serving/servables/tensorflow/tflite_session.cc, SetInputAndInvokeMiniBatch). In between, inputs of the new and of
the old request meet: a sum of [5, 7] and [2, 9] fails to prepare, and XNNPACK with it ("failed to reshape runtime").

LiteRT prepares operators in their order up to the first one whose output has a size that only its computation tells; those after
it are prepared when the graph runs (tflite/core/subgraph.cc, PrepareOpsAndTensors), and then all inputs are in place. So such an
operator is put first: WHERE, over a few numbers that are always the same, so that later calls of the same shapes prepare nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bundler.errors import TfliteError
from bundler.tflite.flatbuffer import packed

_NAME = "prepare_when_run"


def defer_preparation(file: bytes) -> bytes:
    """Return the .tflite file with an operator first after which LiteRT prepares the others only when the graph runs.

    Args:
        file: the file's content; its first input has at least one axis.

    Raises:
        TfliteError: the weights are stored outside of the buffers, as in files over 2 GiB.
    """
    from ai_edge_litert import schema_py_generated as schema

    tree = schema.ModelT.InitFromPackedBuf(file, 0)
    if any(buffer.offset for buffer in tree.buffers):
        raise TfliteError("The TFLite file is over 2 GiB: it cannot be prepared for several inputs.", code="TFB4401")
    graph, types = tree.subgraphs[0], schema.TensorType
    source = int(graph.inputs[0])
    rank = len(graph.tensors[source].shape)
    sizes = _tensor(schema, graph, "sizes", [rank], types.INT32)
    equal = _tensor(schema, graph, "equal", [rank], types.BOOL)
    places = _tensor(schema, graph, "places", [rank, 1], types.INT64)
    graph.tensors[places].shapeSignature = np.array([-1, 1], np.int32)
    shape_options = schema.ShapeOptionsT()
    shape_options.outType = types.INT32
    graph.operators = [
        _operator(schema, tree, "SHAPE", [source], sizes, shape_options),
        _operator(schema, tree, "EQUAL", [sizes, sizes], equal, schema.EqualOptionsT()),
        _operator(schema, tree, "WHERE", [equal], places, schema.WhereOptionsT()),
        *graph.operators,
    ]
    return packed(tree, size=len(file) + 1024)


def _tensor(schema: Any, graph: Any, name: str, shape: list[int], dtype: int) -> int:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = f"{_NAME}/{name}", np.array(shape, np.int32), dtype
    tensor.buffer, tensor.hasRank = 0, True
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _operator(schema: Any, tree: Any, name: str, inputs: list[int], output: int, options: Any) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
    tree.operatorCodes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(tree.operatorCodes) - 1
    operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    operator.builtinOptions = options
    return operator

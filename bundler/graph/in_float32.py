"""A half-precision ONNX graph in float32: the same graph with float32 in place of float16 and bfloat16 everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import numpy as np
import onnx_ir as ir

from bundler.graph.walk import all_graphs
from bundler.values.arrays import Array

HALVES = ("float16", "bfloat16")
HALF_TYPES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_DTYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "output_datatype")


def arrays_in_float32(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return arrays by name, those of half precision widened to float32."""
    return {name: a.astype(np.float32) if a.dtype.name in HALVES else a for name, a in arrays.items()}


def write_in_float32(path: Path, target: Path) -> None:
    """Write the model of a file with every half-precision constant, value and cast widened to float32, with the weights inside.

    Args:
        path: the ONNX file.
        target: the file to write.
    """
    model = ir.load(path)
    for graph in all_graphs(model):
        _widen_graph(graph)
    ir.save(model, target)


def _widen_graph(graph: ir.Graph) -> None:
    for value in _values(graph):
        if value.dtype in HALF_TYPES:
            value.type = ir.TensorType(ir.DataType.FLOAT)
        if value.const_value is not None and value.const_value.dtype in HALF_TYPES:
            value.const_value = _widened(value.const_value)
    for node in graph:
        for attribute in list(node.attributes.values()):
            if attribute.type is ir.AttributeType.TENSOR and attribute.value.dtype in HALF_TYPES:
                node.attributes.add(ir.AttrTensor(attribute.name, _widened(attribute.value)))
            elif attribute.name in _DTYPE_ATTRIBUTES and attribute.value in tuple(map(int, HALF_TYPES)):
                node.attributes.add(ir.AttrInt64(attribute.name, int(ir.DataType.FLOAT)))


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    results = (output for node in graph for output in node.outputs)
    return chain(graph.inputs, graph.initializers.values(), results)


def _widened(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.tensor(np.asarray(tensor.numpy()).astype(np.float32), name=tensor.name)

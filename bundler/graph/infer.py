"""ONNX's shape inference, made safe for sizes that nobody has memory for.

With data propagation ONNX (1.23) takes a vector that is added, subtracted or multiplied for a shape and writes one dim an
element: 2^40 of them end the process, and a vector of 100 million numbers takes gigabytes. So it comes second, and only where

1. no vector whose length is known is longer than LONGEST,
2. no integer constant that may become a length is larger; an end of a Slice, often the largest int64, is none.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir
from onnx_ir.passes import common

from bundler.graph.load import SMALL

LONGEST = 1 << 20


def infer_shapes(model: ir.Model) -> None:
    """Note the shapes and types of all values as far as ONNX can tell them, in place."""
    common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=False)(model)
    if not any(map(_is_long, _values(model))):
        common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)


def _values(model: ir.Model) -> Iterable[ir.Value]:
    for graph in model.graphs():
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs


def _is_long(value: ir.Value) -> bool:
    shape = value.shape
    if shape is not None and len(shape) == 1 and isinstance(shape[0], int) and shape[0] > LONGEST:
        return True
    constant = value.const_value
    if constant is None or constant.dtype not in (ir.DataType.INT64, ir.DataType.INT32) or not 0 < constant.size <= SMALL:
        return False
    return bool(constant.numpy().max() > LONGEST) and any(node.op_type != "Slice" for node in value.consumers())

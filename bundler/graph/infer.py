"""ONNX's shape inference, protected against sizes beyond the memory of any machine.

With data propagation, ONNX (1.23) takes a vector that is added, subtracted or multiplied for a shape and writes one dim per
element: 2^40 of them crash the process, and a vector of 100 million numbers takes gigabytes. So inference with data propagation
runs second, and only if

1. no vector of known length is longer than LONGEST,
2. no integer constant that may become a length is larger. The end of a Slice, often the largest int64, does not count.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import onnx_ir as ir
from onnx_ir.passes import common

from bundler.graph.load import SMALL

LONGEST = 1 << 20


logging.getLogger("onnx_ir.passes.common.shape_inference").setLevel(logging.ERROR)
"""Where inference fails (data propagation does for some sequences), the pass would print a traceback as a warning."""


def infer_shapes(model: ir.Model) -> None:
    """Set the shapes and types of all values that ONNX can infer, in place.

    Inference that fails changes nothing: what it would have found is known only at run time.
    """
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

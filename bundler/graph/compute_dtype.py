"""The float type in which an ONNX graph computes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

from bundler.graph.infer import infer_shapes
from bundler.graph.walk import all_graphs

_NAMES = {
    ir.DataType.BFLOAT16: "bfloat16", ir.DataType.FLOAT16: "float16", ir.DataType.FLOAT: "float32", ir.DataType.DOUBLE: "float64",
}  # fmt: skip
"""The float types that NumPy or ml_dtypes can hold, the coarsest first."""

MOVES = frozenset((
    "Identity", "Constant", "ConstantOfShape", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Split",
    "Slice", "Gather", "GatherElements", "GatherND", "Expand", "Tile", "Pad", "DepthToSpace", "SpaceToDepth", "Where", "Compress",
    "ReverseSequence", "If", "Loop", "Scan", "SequenceConstruct", "SequenceAt", "SplitToSequence", "ConcatFromSequence",
    "Optional", "OptionalGetElement",
))  # fmt: skip
"""Operators whose outputs are elements of their inputs, unchanged; the nodes of a branch or body count by themselves."""


def compute_dtype(path: Path) -> str:
    """Return the coarsest of bfloat16, float16, float32 and float64 that a node computes in; float32 if no node computes in any.

    A Cast counts with the type of its result, which it may round to. Nodes of MOVES do not count.
    """
    model = ir.load(path)
    if any(value.dtype is None for value in _results(model)):
        infer_shapes(model)
    found = {value.dtype for value in _results(model)}
    return next((name for dtype, name in _NAMES.items() if dtype in found), "float32")


def _results(model: ir.Model) -> Iterator[ir.Value]:
    """Yield the outputs of all nodes that compute, in subgraphs and functions too."""
    for graph in all_graphs(model):
        for node in graph:
            if node.op_type not in MOVES:
                yield from node.outputs

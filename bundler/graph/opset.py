"""Raises a model to one opset with ONNX's own version converter.

1. A model without an opset is rejected, unless it has no operator of ONNX's domain; one of OPSET or newer stays as it is.
2. Below opset 6, only a model whose operators mean the same in opset 6 is accepted.
3. PRelu of opset 6 and Scan of opset 8 are rewritten first, since the converter handles them wrongly.
4. Operators in ONNX's domain that ONNX does not know are hidden from the converter.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx.defs
import onnx_ir as ir
from onnx import version_converter

from bundler.errors import ConversionError
from bundler.graph.detached import through_proto
from bundler.graph.hidden_nodes import HIDDEN, show_hidden
from bundler.graph.load import root_cause
from bundler.graph.prelu_6 import PRelu6ToPRelu7
from bundler.graph.scan_8 import Scan8ToScan9

OPSET = 21
"""Handlers are written against this opset and newer ones; older models are raised to it."""

OLDEST = 6


def raise_opset(model: ir.Model) -> ir.Model:
    """Return a model of OPSET, or the model itself if its opset is newer.

    Raises:
        ConversionError: the model names no opset or one older than 6, or the version converter fails.
    """
    opset = model.opset_imports.get("")
    if opset is None:
        if any(node.domain == "" for node in model.graph):
            raise ConversionError("The ONNX model does not state its opset.", fix="export it again")
        return model
    if opset >= OPSET:
        return model
    if opset < OLDEST and not all(map(_unchanged(opset), ir.traversal.RecursiveGraphIterator(model.graph))):
        raise ConversionError(
            f"The ONNX model has opset {opset}; the oldest one supported is {OLDEST}.", fix="export it again"
        )
    if opset == 6:
        PRelu6ToPRelu7()(model)
    if opset == 8:
        Scan8ToScan9()(model)
    return _convert(model, opset)


def _hide_unknown(model: ir.Model) -> None:
    """Hide operators that ONNX does not know: ONNX Runtime (SimplifiedLayerNormalization) and users add some to its domain."""
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if node.domain == "" and not onnx.defs.has(node.op_type):
            node.domain = HIDDEN
            model.opset_imports[HIDDEN] = 1


def _unchanged(opset: int) -> Callable[[ir.Node], bool]:
    """Return a test for nodes that mean the same in `opset` as in the oldest opset supported."""

    def same(node: ir.Node) -> bool:
        if node.domain != "":
            return True
        try:
            versions = [onnx.defs.get_schema(node.op_type, n, "").since_version for n in (opset, OLDEST)]
        except onnx.defs.SchemaError:
            return False
        return versions[0] == versions[1]

    return same


def _convert(model: ir.Model, opset: int) -> ir.Model:
    _hide_unknown(model)
    try:
        return show_hidden(through_proto(model, lambda proto: version_converter.convert_version(proto, OPSET)))
    except Exception as exc:  # RuntimeError, and ConvertError and InferenceError, which have no other base class
        raise ConversionError(
            f"The model of opset {opset} cannot be raised to opset {OPSET}: {root_cause(exc)}.",
            fix=f"export it with --opset {OPSET}",
        ) from exc

"""Raising a model to one opset with ONNX's own version converter."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx.defs
import onnx_ir as ir
from onnx import version_converter

from bundler.errors import ConversionError
from bundler.graph.detached import through_proto
from bundler.graph.load import root_cause
from bundler.graph.prelu_6 import PRelu6ToPRelu7
from bundler.graph.scan_8 import Scan8ToScan9, show_scans

OPSET = 21
"""Handlers are written against this opset and newer ones; older models are raised to it."""

OLDEST = 6


def raise_opset(model: ir.Model) -> ir.Model:
    """A model of at least OPSET; one that is newer stays as it is.

    Raises:
        ConversionError: the model names no opset, one older than 6, or the version converter fails.
    """
    opset = model.opset_imports.get("")
    if opset is None:
        if any(node.domain == "" for node in model.graph):
            raise ConversionError("The ONNX model does not say which opset it uses.", fix="export it again")
        return model
    if opset >= OPSET:
        return model
    if opset < OLDEST and not all(map(_unchanged(opset), ir.traversal.RecursiveGraphIterator(model.graph))):
        raise ConversionError(
            f"The ONNX model has opset {opset}; {OLDEST} is the oldest one supported.", fix="export it again"
        )
    if opset == 6:
        PRelu6ToPRelu7()(model)
    if opset == 8:
        Scan8ToScan9()(model)
    return show_scans(_convert(model, opset))


def _hide_unknown(model: ir.Model) -> None:
    """ONNX Runtime has operators of its own in ONNX's domain (SimplifiedLayerNormalization), and users may have some."""
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if node.domain == "" and not onnx.defs.has(node.op_type):
            node.domain = _UNKNOWN
            model.opset_imports[_UNKNOWN] = 1


def _show_unknown(model: ir.Model) -> ir.Model:
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if node.domain == _UNKNOWN:
            node.domain = ""
    model.opset_imports.pop(_UNKNOWN, None)
    return model


def _unchanged(opset: int) -> Callable[[ir.Node], bool]:
    """Whether a node means the same in `opset` as in the oldest one supported."""

    def same(node: ir.Node) -> bool:
        if node.domain != "":
            return True
        try:
            versions = [onnx.defs.get_schema(node.op_type, n, "").since_version for n in (opset, OLDEST)]
        except onnx.defs.SchemaError:
            return False
        return versions[0] == versions[1]

    return same


_UNKNOWN = "tfbundle.unknown"
"""Where operators that ONNX does not know are out of the version converter's sight."""


def _convert(model: ir.Model, opset: int) -> ir.Model:
    _hide_unknown(model)
    try:
        return _show_unknown(through_proto(model, lambda proto: version_converter.convert_version(proto, OPSET)))
    except Exception as exc:  # RuntimeError, and ConvertError and InferenceError, which have no base class but this
        raise ConversionError(
            f"The model of opset {opset} cannot be raised to opset {OPSET}: {root_cause(exc)}.",
            fix=f"export it with --opset {OPSET}",
        ) from exc

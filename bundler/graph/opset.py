"""Raises a model to one opset, by rules of our own (`bundler.graph.opsets`).

ONNX's version converter is not used: it keeps or changes the meaning of several operators wrongly (Resize of opset 10, Hardmax,
GroupNormalization of opset 18, PRelu of opset 6, Scan of opset 8), knows neither `broadcast` of opset 6 in all its forms nor any
opset below 6, and ends in assertions that say nothing of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import onnx_ir as ir

from bundler.errors import ConversionError
from bundler.graph.infer import infer_shapes
from bundler.graph.opsets import broadcasting, normalization, operands, sampling, scan_8
from bundler.graph.opsets.rules import RULES, NodeEditor

OPSET = 21
"""Handlers are written against this opset and newer ones; older models are raised to it."""

RULE_MODULES = (broadcasting, normalization, operands, sampling, scan_8)
"""The modules whose import fills the table of rules."""


def raise_opset(model: ir.Model) -> ir.Model:
    """Return the model, raised in place to OPSET if its opset is older.

    Raises:
        ConversionError: the model does not state its opset, or an operator of it cannot be expressed in OPSET.
    """
    opset = model.opset_imports.get("")
    if opset is None:
        if any(node.domain == "" for node in model.graph):
            raise ConversionError("The ONNX model does not state its opset.", fix="export it again", code="TFB3003")
        return model
    if opset < OPSET:
        _apply_rules(model, opset)
        model.opset_imports[""] = OPSET
    return model


def _apply_rules(model: ir.Model, opset: int) -> None:
    nodes = [node for node in ir.traversal.RecursiveGraphIterator(model.graph) if node.domain == ""]
    changed = [node for node in nodes if any(RULES.for_operator(node.op_type, opset))]
    if not changed:
        return
    infer_shapes(model)
    names = _unique_names(model)
    for node in changed:
        for rule in list(RULES.for_operator(node.op_type, opset)):
            if node.graph is None:
                break  # an earlier rule has replaced it
            rule.rewrite(NodeEditor(node, opset, names))


def _unique_names(model: ir.Model) -> Callable[[str], str]:
    """Return a function that makes a name which no value or node of the model has."""
    taken = {value.name for graph in model.graphs() for value in (*graph.inputs, *graph.initializers.values())}
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        taken |= {node.name, *(value.name for value in node.outputs)}

    def unique(start: str) -> str:
        name = next(name for number in count() if (name := f"{start}_{number}") not in taken)
        taken.add(name)
        return name

    return unique

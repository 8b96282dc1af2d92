"""Hides nodes from ONNX's version converter by moving them from ONNX's domain to one of our own for the time being."""

from __future__ import annotations

import onnx_ir as ir

HIDDEN = "tfbundle.hidden"
"""The domain of hidden nodes."""


def show_hidden(model: ir.Model) -> ir.Model:
    """Move all hidden nodes back to ONNX's domain, in place, and return the model."""
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if node.domain == HIDDEN:
            node.domain = ""
    model.opset_imports.pop(HIDDEN, None)
    return model

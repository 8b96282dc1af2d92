"""Removes a Cast to the type that its input already has.

1. The type of its input is known, and is the one that it casts to.
2. Its result is not a graph output, which would lose its name.

PyTorch writes `x.float()` as a Cast whatever the type of x; without these casts, the fusions have fewer forms to recognise.
"""

from __future__ import annotations

import onnx_ir as ir

from bundler.graph.fusion import Declined, Fusion, attribute


class DropCasts(Fusion):
    """Requires dtypes; leaves no Cast without effect, except at outputs."""

    roots = ("Cast",)

    def fuse(self, node: ir.Node) -> bool:
        """Remove a Cast without effect."""
        x, result = node.inputs[0], node.outputs[0]
        if x is None or x.dtype is None or x.dtype != ir.DataType(attribute(node, "to", 0)):
            return False
        if result.is_graph_output():
            raise Declined("The result must not be a graph output.")
        graph = node.graph
        assert graph is not None
        result.replace_all_uses_with(x)
        graph.remove(node, safe=True)
        return True

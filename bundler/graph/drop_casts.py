"""A Cast to the type that a value has already goes.

1. The type of its input is known, and is the one that it casts to.
2. Its result is no output of a graph, which has a name to keep.

PyTorch writes `x.float()` as a Cast whatever x is; without them the formulas of the fusions have one form.
"""

from __future__ import annotations

import onnx_ir as ir

from bundler.graph.fusion import Declined, Fusion, attribute


class DropCasts(Fusion):
    """Needs: dtypes. Gives: no Cast without effect, but at outputs."""

    roots = ("Cast",)

    def fuse(self, node: ir.Node) -> bool:
        x, result = node.inputs[0], node.outputs[0]
        if x is None or x.dtype is None or x.dtype != ir.DataType(attribute(node, "to", 0)):
            return False
        if result.is_graph_output():
            raise Declined("its result is an output")
        graph = node.graph
        assert graph is not None
        result.replace_all_uses_with(x)
        graph.remove(node, safe=True)
        return True

"""Fuses MatMul with a constant matrix and Add of a constant vector into `tfbundle::Linear`.

1. The second input of the MatMul is a constant of rank 2.
2. An Add is the only reader of its result, which is not a graph output.
3. The other input of the Add is a constant vector (or 1 x … x 1 x N) of the matrix's width.

TensorFlow fuses a bias only into products of matrices (rank 2) and only as a BiasAdd; keeping the pair together lets the
engine flatten, multiply, add and restore the shape, in that order.
"""

from __future__ import annotations

import onnx_ir as ir

from bundler.graph.fusion import DOMAIN, Declined, Fusion, bias_vector, other_operand, rank, replace, sole_consumer


class FuseLinear(Fusion):
    """Requires constants as initializers; makes `tfbundle::Linear(x, w, bias)`."""

    roots = ("MatMul",)

    def fuse(self, node: ir.Node) -> bool:
        """Fuse a MatMul with the Add after it."""
        w, product = node.inputs[1], node.outputs[0]
        if w is None or w.const_value is None or w.is_graph_input() or len(w.const_value.shape) != 2:
            return False
        adds = [use.node for use in product.uses() if use.node.op_type == "Add" and use.node.domain == ""]
        if not adds:
            return False
        if sole_consumer(product, "Add") is None or adds[0].graph is not node.graph:
            raise Declined("Other nodes must not read the product.")
        width = w.const_value.shape.numpy()[1]
        bias = bias_vector(other_operand(adds[0], product), width, rank(product))
        linear = ir.Node(DOMAIN, "Linear", [node.inputs[0], w, bias], name=node.name)
        replace([node, adds[0]], linear)
        return True

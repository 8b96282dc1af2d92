"""MatMul with a constant matrix, followed by Add of a constant vector, becomes one `tfbundle::Linear`.

1. The MatMul's second input is a constant of rank 2.
2. Nothing but an Add reads its result, and it is no output of the graph.
3. The Add's other input is a constant vector (or 1 x … x 1 x N) as long as the matrix is wide.

TensorFlow fuses a bias only into products of matrices (rank 2) and only as a BiasAdd; keeping the pair together lets the
engine flatten, multiply, add and restore in that order.
"""

from __future__ import annotations

import onnx_ir as ir

from bundler.graph.fusion import DOMAIN, Declined, Fusion, other_operand, rank, replace, sole_consumer, vector


class FuseLinear(Fusion):
    """Needs: constants as initializers. Gives: `tfbundle::Linear(x, w, bias)`."""

    roots = ("MatMul",)

    def fuse(self, node: ir.Node) -> bool:
        w, product = node.inputs[1], node.outputs[0]
        if w is None or w.const_value is None or w.is_graph_input() or len(w.const_value.shape) != 2:
            return False
        adds = [use.node for use in product.uses() if use.node.op_type == "Add" and use.node.domain == ""]
        if not adds:
            return False
        if sole_consumer(product, "Add") is None or adds[0].graph is not node.graph:
            raise Declined("other nodes read the product as well")
        width = w.const_value.shape.numpy()[1]
        bias = vector(other_operand(adds[0], product), width, rank(product), "what is added to the product")
        linear = ir.Node(DOMAIN, "Linear", [node.inputs[0], w, bias], name=node.name)
        replace([node, adds[0]], linear)
        return True

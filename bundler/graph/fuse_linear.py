"""MatMul with a constant matrix, followed by Add of a constant vector, becomes one `tfbundle::Linear`.

1. The MatMul's second input is a constant of rank 2.
2. Nothing but an Add reads its result, and it is no output of the graph.
3. The Add's other input is a constant vector (or 1 x … x 1 x N) as long as the matrix is wide.

TensorFlow fuses a bias only into products of matrices (rank 2) and only as a BiasAdd; keeping the pair together lets the
engine flatten, multiply, add and restore in that order.
"""

from __future__ import annotations

import onnx_ir as ir

from bundler.graph.fusion import DOMAIN, Declined, Fusion, constant, other_operand, rank, replace, sole_consumer


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
        bias = _vector(other_operand(adds[0], product), w.const_value.shape.numpy()[1], rank(product))
        linear = ir.Node(DOMAIN, "Linear", [node.inputs[0], w, bias], name=node.name)
        replace([node, adds[0]], linear)
        return True


def _vector(bias: ir.Value | None, width: int, of_rank: int | None) -> ir.Value:
    """The bias as a constant of one axis.

    Raises:
        Declined: it is computed, or no vector of this width.
    """
    array = constant(bias)
    if array is None or bias is None:
        raise Declined("what is added to the product is no constant")
    if array.size != width or array.shape[-1:] != (width,) or array.ndim > max(of_rank or 0, 1):
        raise Declined("what is added to the product is no vector of its width")
    if array.ndim == 1:
        return bias
    assert bias.graph is not None
    name = f"{bias.name}_vector"
    flat = ir.Value(name=name, const_value=ir.tensor(array.reshape(-1), name=name))
    bias.graph.register_initializer(flat)
    return flat

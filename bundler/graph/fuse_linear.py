"""MatMul with a constant matrix, followed by Add of a constant vector, becomes one `tfbundle::Linear`.

1. The MatMul's second input is a constant of rank 2.
2. Its only consumer is an Add whose other input is a constant of rank 1 (or 1 x … x 1 x N) as long as the matrix is wide.
3. Neither result is an output of the graph, but for the Add's.

TensorFlow fuses a bias only into products of matrices (rank 2) and only as a BiasAdd; keeping the pair together lets the
engine flatten, multiply, add and restore in that order.
"""

from __future__ import annotations

import onnx_ir as ir


class FuseLinear(ir.passes.InPlacePass):
    """Needs: constants as initializers. Gives: `tfbundle::Linear(x, w, bias)`."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        fused = [node for node in list(model.graph) if _fuse(node)]
        if fused:
            model.opset_imports["tfbundle"] = 1
        return ir.passes.PassResult(model, modified=bool(fused))


def _fuse(matmul: ir.Node) -> bool:
    match = _match(matmul)
    if match is None:
        return False
    add, bias = match
    x, w = matmul.inputs
    flat = _as_vector(bias)
    linear = ir.Node("tfbundle", "Linear", [x, w, flat], name=matmul.name, metadata_props=dict(matmul.metadata_props))
    result, old = linear.outputs[0], add.outputs[0]
    result.name, result.shape, result.type = old.name, old.shape, old.type
    graph = matmul.graph
    assert isinstance(graph, ir.Graph)
    graph.insert_after(add, linear)
    old.replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove([add, matmul], safe=True)
    return True


def _match(matmul: ir.Node) -> tuple[ir.Node, ir.Value] | None:
    if matmul.op_type != "MatMul" or matmul.domain != "":
        return None
    w = matmul.inputs[1]
    if w is None or w.const_value is None or len(w.const_value.shape) != 2:
        return None
    product = matmul.outputs[0]
    consumers = list(product.consumers())
    if len(consumers) != 1 or product.is_graph_output() or consumers[0].op_type != "Add" or consumers[0].domain != "":
        return None
    add = consumers[0]
    other = add.inputs[1] if add.inputs[0] is product else add.inputs[0]
    if other is None or other is product or other.const_value is None:
        return None
    sizes = list(other.const_value.shape)
    width = w.const_value.shape[1]
    rank = len(product.shape) if product.shape is not None else 0
    vector = bool(sizes) and sizes[-1] == width and all(n == 1 for n in sizes[:-1]) and len(sizes) <= max(rank, 1)
    return (add, other) if vector else None


def _as_vector(bias: ir.Value) -> ir.Value:
    constant = bias.const_value
    assert constant is not None
    if len(constant.shape) == 1:
        return bias
    graph = bias.graph
    assert graph is not None
    flat = ir.Value(
        name=f"{bias.name}_vector", const_value=ir.tensor(constant.numpy().reshape(-1), name=f"{bias.name}_vector")
    )
    graph.register_initializer(flat)
    return flat

"""Moves large constants of branches and loop bodies to the outermost graph, where the inner graphs can read them.

1. The constant has more than SMALL elements, and is neither an input nor an output of its graph.
2. It gets a name that no other value of the model has.

ONNX's own tools work on protobuf, which is limited to 2 GB. onnx_ir leaves the weights of the outermost graph out
meanwhile, but cannot leave out those of an inner graph, whose inputs are determined by its operator.
"""

from __future__ import annotations

import onnx_ir as ir

from bundler.graph.load import SMALL

_PREFIX = "tfbundle_lifted"


class LiftWeights(ir.passes.InPlacePass):
    """Requires constants as initializers; leaves no large ones in subgraphs."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Move the large constants of all subgraphs."""
        inner = [graph for graph in model.graphs() if graph is not model.graph]
        weights = [value for graph in inner for value in list(graph.initializers.values()) if _is_large(value)]
        for number, value in enumerate(weights):
            graph = value.graph
            assert isinstance(graph, ir.Graph)
            del graph.initializers[value.name or ""]
            value.name = f"{_PREFIX}_{number}_{value.name}"
            model.graph.register_initializer(value)
        return ir.passes.PassResult(model, modified=bool(weights))


def _is_large(value: ir.Value) -> bool:
    tensor = value.const_value
    return tensor is not None and tensor.size > SMALL and not value.is_graph_input() and not value.is_graph_output()

"""Large constants of branches and loop bodies move to the outermost graph, where the inner ones see them.

1. The constant has more elements than SMALL, and is neither an input nor an output of its graph.
2. It gets a name that no other value of the model has.

ONNX's own tools work on protobuf, which ends at 2 GB; the weights of the outermost graph stay behind (`detached`), and those of
an inner one cannot, for a body has as many inputs as its operator gives it.
"""

from __future__ import annotations

import onnx_ir as ir

from bundler.graph.load import SMALL

_PREFIX = "tfbundle_lifted"


class LiftWeights(ir.passes.InPlacePass):
    """Needs: constants as initializers. Gives: no large ones in subgraphs."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        inner = [graph for graph in model.graphs() if graph is not model.graph]
        found = [value for graph in inner for value in list(graph.initializers.values()) if _is_large(value)]
        for number, value in enumerate(found):
            graph = value.graph
            assert isinstance(graph, ir.Graph)
            del graph.initializers[value.name or ""]
            value.name = f"{_PREFIX}_{number}_{value.name}"
            model.graph.register_initializer(value)
        return ir.passes.PassResult(model, modified=bool(found))


def _is_large(value: ir.Value) -> bool:
    tensor = value.const_value
    return tensor is not None and tensor.size > SMALL and not value.is_graph_input() and not value.is_graph_output()

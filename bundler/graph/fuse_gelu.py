"""Gelu from its formula: x/2 (1 + erf(x/√2)), or x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))).

1. The node is an Erf or a Tanh, t, of a polynomial in some value x with those numbers.
2. Sums and products make x/2 + x/2 t of it, in any order and grouping.
3. Nothing else reads what is computed on the way, and all of it stands in one graph.

PyTorch's exporter writes Gelu as one operator from opset 20 on. TensorFlow fuses it with the product before it; so the engine has
to see it as one. https://onnx.ai/onnx/operators/onnx__Gelu.html
"""

from __future__ import annotations

from math import pi, sqrt

import onnx_ir as ir

from bundler.graph.fusion import Declined, Fusion, check_enclosed, replace
from bundler.graph.polynomial import Terms, bases, formula, results

_ROOT = sqrt(2 / pi)
_ARGUMENTS: dict[str, Terms] = {"Erf": {(1,): 1 / sqrt(2)}, "Tanh": {(1,): _ROOT, (3,): 0.044715 * _ROOT}}
_RESULT: Terms = {(1, 0): 0.5, (1, 1): 0.5}
_APPROXIMATE = {"Erf": "none", "Tanh": "tanh"}


class FuseGelu(Fusion):
    """Needs: constants as initializers. Gives: Gelu."""

    roots = ("Erf", "Tanh")

    def fuse(self, node: ir.Node) -> bool:
        t, found = node.outputs[0], None
        for x in bases(node.inputs[0]):
            argument = formula(node.inputs[0], (x,))
            if argument is None or argument.terms.keys() != _ARGUMENTS[node.op_type].keys():
                continue
            for product in filter(None, (formula(value, (x, t)) for value in results(t))):
                if product.terms.keys() != _RESULT.keys():
                    continue
                found = [*argument.terms.values(), *product.terms.values()]
                if argument.is_close(_ARGUMENTS[node.op_type], x.dtype) and product.is_close(_RESULT, x.dtype):
                    _replace(x, [*dict.fromkeys([*argument.nodes, node, *product.nodes])], _APPROXIMATE[node.op_type])
                    return True
        if found is not None:
            raise Declined(f"its numbers are not Gelu's: {', '.join(f'{n:.7g}' for n in found)}")
        return False


def _replace(x: ir.Value, nodes: list[ir.Node], approximate: str) -> None:
    check_enclosed(nodes)
    gelu = ir.Node("", "Gelu", [x], [ir.AttrString("approximate", approximate)], name=nodes[-1].name)
    replace(nodes, gelu)

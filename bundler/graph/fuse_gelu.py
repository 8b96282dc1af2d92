"""Fuses the formula of Gelu: x/2 (1 + erf(x/√2)), or x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))).

1. The node is an Erf or a Tanh, with result t, of a polynomial in some value x with those constants.
2. Sums and products, in any order and grouping, compute x/2 + x/2 t.
3. Nothing else reads intermediate results, and all nodes are in one graph.

PyTorch's exporter writes Gelu as one operator from opset 20 on. TensorFlow fuses it with the product before it, so the engine
must see it as one operator. https://onnx.ai/onnx/operators/onnx__Gelu.html
"""

from __future__ import annotations

from math import pi, sqrt

import onnx_ir as ir

from bundler.graph.fusion import Declined, Fusion
from bundler.graph.polynomial import Terms, arguments, products, replace_formula

_ROOT = sqrt(2 / pi)
_ARGUMENTS: dict[str, Terms] = {"Erf": {(1,): 1 / sqrt(2)}, "Tanh": {(1,): _ROOT, (3,): 0.044715 * _ROOT}}
_RESULT: Terms = {(1, 0): 0.5, (1, 1): 0.5}
_APPROXIMATE = {"Erf": "none", "Tanh": "tanh"}


class FuseGelu(Fusion):
    """Requires constants as initializers; makes Gelu."""

    roots = ("Erf", "Tanh")

    def fuse(self, node: ir.Node) -> bool:
        """Fuse the formula around an Erf or a Tanh."""
        expected, numbers = _ARGUMENTS[node.op_type], None
        for x, argument in arguments(node):
            if argument.terms.keys() != expected.keys():
                continue
            for product in products(node, x):
                if product.terms.keys() != _RESULT.keys():
                    continue
                numbers = [*argument.terms.values(), *product.terms.values()]
                if argument.is_close(expected, x.dtype) and product.is_close(_RESULT, x.dtype):
                    approximate = ir.AttrString("approximate", _APPROXIMATE[node.op_type])
                    replace_formula("Gelu", x, (argument, node, product), [approximate])
                    return True
        if numbers is not None:
            raise Declined(f"The constants must be those of Gelu, but are {', '.join(f'{n:.7g}' for n in numbers)}.")
        return False

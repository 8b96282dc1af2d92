"""Fuses the formula of HardSwish: x HardSigmoid(x), x clip(x + 3, 0, 6) / 6, and every equivalent.

1. The node clips a x + b, where x is some value, from 0 to a constant m. A HardSigmoid does so with alpha and beta, and m = 1.
2. 6a = m and 2b = m.
3. Sums and products compute x t / m from its result t.
4. Nothing else reads intermediate results, and all nodes are in one graph.

TensorFlow has no kernel for it, but TFLite has: its converter recognises HARD_SWISH in the form in which the engine lowers this
operator, but not in other groupings. https://onnx.ai/onnx/operators/onnx__HardSwish.html
"""

from __future__ import annotations

import onnx_ir as ir

from bundler.graph.fusion import Declined, Fusion, attribute, is_close, number
from bundler.graph.polynomial import Terms, arguments, products, replace_formula


class FuseHardSwish(Fusion):
    """Requires constants as initializers; makes HardSwish."""

    roots = ("HardSigmoid", "Clip")

    def fuse(self, node: ir.Node) -> bool:
        """Fuse the formula around a HardSigmoid or a Clip."""
        reason = None
        for x, argument in arguments(node):
            if not argument.terms.keys() <= {(0,), (1,)}:
                continue
            for product in (p for p in products(node, x) if p.terms.keys() == {(1, 1)}):
                reason = _difference(node, argument.terms, product.terms[1, 1], x.dtype)
                if reason is None:
                    replace_formula("HardSwish", x, (argument, node, product))
                    return True
        if reason is not None:
            raise Declined(reason)
        return False


def _difference(node: ir.Node, argument: Terms, factor: float, dtype: ir.DataType | None) -> str | None:
    """Return how the formula differs from HardSwish, or None if it does not."""
    a, b = argument.get((1,), 0.0), argument.get((0,), 0.0)
    if node.op_type == "HardSigmoid":
        alpha, top = attribute(node, "alpha", 0.2), 1.0
        a, b = alpha * a, alpha * b + attribute(node, "beta", 0.5)
    else:
        bounds = [number(value, node.inputs[0]) for value in [*node.inputs[1:], None, None][:2]]
        if bounds[0] != 0.0 or not bounds[1]:
            return f"Clip must go from 0 to a constant, but its bounds are {bounds}."
        top = bounds[1]
    if is_close(6 * a, top, dtype) and is_close(2 * b, top, dtype) and is_close(factor * top, 1.0, dtype):
        return None
    return f"The constants must be those of HardSwish, but are in clip({a:g} x + {b:g}, 0, {top:g}) times {factor:g} x."

"""HardSwish from its formula: x HardSigmoid(x), x clip(x + 3, 0, 6) / 6, and whatever else comes to the same.

1. The node is a Clip from 0 to a constant m of ax + b, x being some value, or a HardSigmoid: alpha and beta in a and b, m = 1.
2. 6a = m and 2b = m.
3. Sums and products make x t / m of its result t.
4. Nothing else reads what is computed on the way, and all of it stands in one graph.

TensorFlow has no kernel for it, TFLite has: its converter finds HARD_SWISH in the form that the engine gives this operator, and
not in every other grouping. https://onnx.ai/onnx/operators/onnx__HardSwish.html
"""

from __future__ import annotations

import onnx_ir as ir

from bundler.graph.fusion import Declined, Fusion, attribute, check_enclosed, is_close, number, replace
from bundler.graph.polynomial import Terms, bases, formula, results


class FuseHardSwish(Fusion):
    """Needs: constants as initializers. Gives: HardSwish."""

    roots = ("HardSigmoid", "Clip")

    def fuse(self, node: ir.Node) -> bool:
        t, reason = node.outputs[0], None
        for x in bases(node.inputs[0]):
            argument = formula(node.inputs[0], (x,))
            if argument is None or not argument.terms.keys() <= {(0,), (1,)}:
                continue
            for product in filter(None, (formula(value, (x, t)) for value in results(t))):
                if product.terms.keys() != {(1, 1)}:
                    continue
                reason = _difference(node, argument.terms, product.terms[1, 1], x.dtype)
                if reason is None:
                    nodes = [*dict.fromkeys([*argument.nodes, node, *product.nodes])]
                    check_enclosed(nodes)
                    replace(nodes, ir.Node("", "HardSwish", [x], name=nodes[-1].name))
                    return True
        if reason is not None:
            raise Declined(reason)
        return False


def _difference(node: ir.Node, argument: Terms, factor: float, dtype: ir.DataType | None) -> str | None:
    """What is not as in HardSwish."""
    a, b = argument.get((1,), 0.0), argument.get((0,), 0.0)
    if node.op_type == "HardSigmoid":
        alpha, top = attribute(node, "alpha", 0.2), 1.0
        a, b = alpha * a, alpha * b + attribute(node, "beta", 0.5)
    else:
        bounds = [number(value, node.inputs[0]) for value in [*node.inputs[1:], None, None][:2]]
        if bounds[0] != 0.0 or not bounds[1]:
            return f"it is clipped to {bounds}, not from 0 to a constant"
        top = bounds[1]
    if is_close(6 * a, top, dtype) and is_close(2 * b, top, dtype) and is_close(factor * top, 1.0, dtype):
        return None
    return f"its numbers are not HardSwish's: clip({a:g} x + {b:g}, 0, {top:g}) times {factor:g} x"

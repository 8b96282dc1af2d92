"""Removes the replacement of NaN by zero after a Softmax of masked scores; only a row of nothing but -inf needs it.

    p = Softmax(scores + bias);  y = Where(IsNaN(p), 0, p)          as torch.onnx writes attention with a boolean mask

1. The Softmax is over the last axis, and only IsNaN and Where read its result.
2. The Where replaces NaN by a constant zero, and takes the result of the Softmax elsewhere.
3. One of the two addends is a Where that selects 0 or a lowest number, both constants.
4. If the lowest number is finite, as torch writes it, no row becomes NaN: only the Softmax remains.
5. If it is -inf, the result is a `tfbundle::MaskedSoftmax`, whose handler derives from the mask which rows are zero.

NaN in the scores stays NaN, as in PyTorch. Testing each probability would take a twentieth of BERT's time in TFLite.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bundler.graph.fusion import DOMAIN, Declined, Fusion, attribute, constant, producer, rank, replace


class FuseMaskedSoftmax(Fusion):
    """Requires ranks; makes a Softmax alone, or `tfbundle::MaskedSoftmax(scores, bias)`."""

    roots = ("Where",)

    def fuse(self, node: ir.Node) -> bool:
        """Fuse the Softmax whose NaN a Where replaces."""
        test = producer(node.inputs[0], "IsNaN")
        softmax = producer(node.inputs[2], "Softmax")
        if test is None or softmax is None or test.inputs[0] is not softmax.outputs[0]:
            return False
        _check(softmax, node)
        addition = producer(softmax.inputs[0], "Add")
        if addition is None:
            raise Declined("Softmax must read the sum of scores and a mask.")
        if any(other.graph is not node.graph for other in (addition, softmax, test)):
            raise Declined("All nodes of the pattern must be in the same graph.")
        scores, bias, lowest = _parts(addition)
        if np.isfinite(lowest):
            plain = ir.Node("", "Softmax", [addition.outputs[0]], [ir.AttrInt64("axis", -1)], name=softmax.name)
            replace([softmax, test, node], plain)
        else:
            replace([addition, softmax, test, node], ir.Node(DOMAIN, "MaskedSoftmax", [scores, bias], name=softmax.name))
        return True


def _check(softmax: ir.Node, where: ir.Node) -> None:
    axes = rank(softmax.inputs[0])
    if axes is None or attribute(softmax, "axis", -1) % axes != axes - 1:
        raise Declined("Softmax must be over the last axis.")
    if len(softmax.outputs[0].uses()) != 2 or softmax.outputs[0].is_graph_output():
        raise Declined("Other nodes must not read the result of Softmax.")
    zero = constant(where.inputs[1])
    if zero is None or zero.size != 1 or zero.any():
        raise Declined("The replacement of NaN must be zero.")


def _parts(addition: ir.Node) -> tuple[ir.Value, ir.Value, float]:
    """Return the scores, the mask, and the number that the mask adds to hidden scores."""
    first, second = addition.inputs
    for bias, scores in ((first, second), (second, first)):
        mask = producer(bias, "Where")
        values = [] if mask is None else [constant(value) for value in mask.inputs[1:]]
        known = sorted(float(v.reshape(-1)[0]) for v in values if v is not None and v.size == 1)
        if bias is not None and scores is not None and len(known) == 2 and known[0] < known[1] == 0:
            return scores, bias, known[0]
    raise Declined("One addend must be a mask of 0 and a lowest number.")

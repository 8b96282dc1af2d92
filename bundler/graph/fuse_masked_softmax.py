"""A Softmax of masked scores whose NaN are made zeros loses the test for NaN, which only a row of nothing but -inf can need.

    p = Softmax(scores + bias);  y = Where(IsNaN(p), 0, p)          what torch.onnx makes of attention with a boolean mask

1. The Softmax goes over the last axis, and nothing but IsNaN and Where reads it.
2. The Where puts a constant zero in the place of a NaN, and the Softmax's own result elsewhere.
3. One of the two addends is a Where that gives 0 or a lowest number, both constants.
4. Is the lowest number finite, as torch writes it, no row becomes NaN, and a Softmax is left.
5. Is it -inf, a `tfbundle::MaskedSoftmax` is made, whose handler sees in the mask which rows are to be zero.

A NaN that is in the scores already stays one, as in PyTorch. Testing each probability costs a twentieth of BERT's time in TFLite.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bundler.graph.fusion import DOMAIN, Declined, Fusion, attribute, constant, producer, rank, replace


class FuseMaskedSoftmax(Fusion):
    """Needs: ranks. Gives: a Softmax alone, or `tfbundle::MaskedSoftmax(scores, bias)`."""

    roots = ("Where",)

    def fuse(self, node: ir.Node) -> bool:
        test = producer(node.inputs[0], "IsNaN")
        softmax = producer(node.inputs[2], "Softmax")
        if test is None or softmax is None or test.inputs[0] is not softmax.outputs[0]:
            return False
        _check(softmax, node)
        addition = producer(softmax.inputs[0], "Add")
        if addition is None:
            raise Declined("the Softmax reads no sum of scores and a mask")
        if any(other.graph is not node.graph for other in (addition, softmax, test)):
            raise Declined("its nodes stand in several graphs")
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
        raise Declined("the Softmax does not go over the last axis")
    if len(softmax.outputs[0].uses()) != 2 or softmax.outputs[0].is_graph_output():
        raise Declined("others read the Softmax as well")
    zero = constant(where.inputs[1])
    if zero is None or zero.size != 1 or zero.any():
        raise Declined("what stands for a NaN is not zero")


def _parts(addition: ir.Node) -> tuple[ir.Value, ir.Value, float]:
    """The scores, the mask and what it adds where it hides."""
    first, second = addition.inputs
    for bias, scores in ((first, second), (second, first)):
        mask = producer(bias, "Where")
        values = [] if mask is None else [constant(value) for value in mask.inputs[1:]]
        known = sorted(float(v.reshape(-1)[0]) for v in values if v is not None and v.size == 1)
        if bias is not None and scores is not None and len(known) == 2 and known[0] < known[1] == 0:
            return scores, bias, known[0]
    raise Declined("neither addend is a mask of 0 and a lowest number")

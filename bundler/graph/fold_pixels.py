"""Folds the normalization of an image into the convolution that reads it, so that the graph takes pixels.

1. The only reader of the input is a Conv of one group over its channel axis, whose weight, and bias if it has one, are constants.
2. The factor and the order of the channels go into the weight.
3. The offset goes into the bias if nothing is padded. Otherwise, the pixels are still to be centered before they are padded,
   because a padded zero is not a black pixel.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bundler.graph.fusion import attribute, constant
from bundler.graph.scaled_weights import replace_constant, set_bias
from bundler.values.image_form import ImageForm


def fold_pixels(model: ir.Model, form: ImageForm) -> tuple[ir.Model, ImageForm]:
    """Return the model for pixels, and what is left to compute before it; the same two if nothing can be folded.

    Args:
        model: the model in its normal form, which stays as it is.
        form: the normalization.
    """
    if not form.takes_pixels or _convolution(model, form) is None:
        return model, form
    changed = model.clone()
    node = _convolution(changed, form)
    assert node is not None
    weight, offset = constant(node.inputs[1]), np.asarray(form.offset)
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    assert weight is not None
    wide = weight.astype(np.float64)
    scaled = wide * np.asarray(form.factor).reshape(1, -1, *[1] * (wide.ndim - 2))
    replace_constant(node, 1, (scaled[:, ::-1] if form.is_reversed else scaled).astype(weight.dtype))
    is_absorbed = not _pads(node)
    if is_absorbed and offset.any():
        shift = np.tensordot(wide.sum(axis=tuple(range(2, wide.ndim))), offset, 1)
        set_bias(node, np.asarray(shift + (0 if bias is None else bias), weight.dtype))
    return changed, form.centered(done=is_absorbed)


def _convolution(model: ir.Model, form: ImageForm) -> ir.Node | None:
    """Return the convolution that rule 1 describes, or None."""
    value = next(value for value in model.graph.inputs if value.name == form.name)
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output() or form.axis != 1:
        return None
    use = next(iter(uses))
    node, index = use.node, use.idx
    is_conv = (node.domain, node.op_type, index) == ("", "Conv", 0) and attribute(node, "group", 1) == 1
    constants = [constant(operand) for operand in node.inputs[1:] if operand is not None]
    return node if is_conv and constants and all(array is not None for array in constants) else None


def _pads(node: ir.Node) -> bool:
    kind = attribute(node, "auto_pad", "NOTSET")
    return bool(any(attribute(node, "pads", ()))) if kind == "NOTSET" else kind != "VALID"

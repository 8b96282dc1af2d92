"""Moves a 1x1 convolution before the enlargement of its input.

1. The convolution is 1x1 with stride 1, without padding, with one group, and its weight is a constant.
2. Its input is a Resize that nothing else reads.
3. The Resize leaves batch and channels alone and enlarges the image, by constant scales.
4. Each of its pixels is a weighted mean of input pixels (the weights add up to one). This excludes `tf_crop_and_resize`, which
   fills in a value outside the image, and the antialias filter, which only a reduction has.

Both are linear and the bias passes through a mean unchanged, so the result is the same up to rounding. If height and width are
doubled, the convolution is left with a quarter of its work. Stages of U-Net decoders and feature pyramids end like this.
"""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from bundler.graph.fusion import Declined, Fusion, attribute, constant, producer, sole_consumer


class PointwiseFirst(Fusion):
    """Requires constants as initializers; puts Conv before Resize where the rules hold."""

    roots = ("Conv",)

    def fuse(self, node: ir.Node) -> bool:
        """Swap a 1x1 Conv with the Resize before it."""
        resize = producer(node.inputs[0], "Resize")
        if resize is None or not _is_pointwise(node):
            return False
        if sole_consumer(resize.outputs[0], "Conv") is not node or resize.graph is not node.graph:
            raise Declined("Other nodes must not read the enlarged image.")
        _check(resize, node)
        _swap(resize, node)
        return True


def _is_pointwise(conv: ir.Node) -> bool:
    weight = conv.inputs[1]
    if weight is None or weight.const_value is None or any(k != 1 for k in list(weight.const_value.shape)[2:]):
        return False
    steps = [*attribute(conv, "strides", ()), attribute(conv, "group", 1)]
    return set(steps) <= {1} and not any(attribute(conv, "pads", ()))


def _check(resize: ir.Node, conv: ir.Node) -> None:
    scales = constant(resize.inputs[2]) if len(resize.inputs) > 2 else None
    if scales is None or not scales.size:
        raise Declined("The scales of Resize must be constant.")
    weight = conv.inputs[1]
    assert weight is not None and weight.const_value is not None
    axes = attribute(resize, "axes", range(scales.size))
    by_axis = {a % len(weight.const_value.shape): float(s) for a, s in zip(axes, scales, strict=True)}
    if by_axis.get(0, 1.0) != 1.0 or by_axis.get(1, 1.0) != 1.0:
        raise Declined("Resize must leave batch and channels alone.")
    if prod(by_axis.values()) <= 1.0:
        raise Declined("Resize must enlarge the image.")
    if (
        attribute(resize, "antialias", 0)
        or attribute(resize, "coordinate_transformation_mode", "") == "tf_crop_and_resize"
    ):
        raise Declined("Every pixel of Resize must be a weighted mean of input pixels.")


def _swap(resize: ir.Node, conv: ir.Node) -> None:
    """Turn resize(x) -> conv into conv(x) -> resize; the last value keeps its name, the first gets a new one."""
    x, enlarged, result = resize.inputs[0], resize.outputs[0], conv.outputs[0]
    graph = conv.graph
    assert isinstance(graph, ir.Graph)
    result.replace_all_uses_with(enlarged, replace_graph_outputs=True)
    conv.replace_input_with(0, x)
    resize.replace_input_with(0, result)
    enlarged.name, result.name = result.name, f"{result.name}.before_{resize.name or 'Resize'}"
    enlarged.shape, enlarged.type = result.shape, result.type
    result.shape = _shape(x, result)
    graph.remove(resize)
    graph.insert_after(conv, resize)


def _shape(x: ir.Value | None, result: ir.Value) -> ir.Shape | None:
    """Return the shape of the convolution before the resize: that of x, with the channels of the convolution."""
    if x is None or x.shape is None or result.shape is None:
        return None
    return ir.Shape([x.shape[0], result.shape[1], *list(x.shape)[2:]])

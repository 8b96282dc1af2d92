"""Resize, Upsample, RoiAlign and GridSample of older opsets, whose coordinates and modes have other defaults and names."""

from __future__ import annotations

import numpy as np

from bundler.graph.opsets.rules import NodeEditor, rule

_GRID_MODES = {"bilinear": "linear", "bicubic": "cubic"}


@rule("Upsample", before=7)
def scale_per_dim(edit: NodeEditor) -> None:
    """Make one scale per dim of the factors for height and width."""
    height, width = edit.take("height_scale", 1.0), edit.take("width_scale", 1.0)
    edit.set(scales=[1.0, 1.0, height, width])
    if edit.take("mode", "nearest") == "bilinear":
        edit.set(mode="linear")


@rule("Upsample", before=9)
def scales_as_input(edit: NodeEditor) -> None:
    """Pass the scales as an input."""
    edit.set_inputs(edit.operand(), edit.constant(edit.take("scales", []), np.float32))


@rule("Upsample", before=21)
@rule("Resize", before=11)
def sample_at_scaled_coordinates(edit: NodeEditor) -> None:
    """Divide coordinates by the scale, which Resize later calls asymmetric.

    The nearest element is the one below where an axis grows and the one above where it shrinks, so that an image that does
    both is resized twice. https://onnx.ai/onnx/operators/onnx__Resize.html
    """
    x, scales, mode = edit.operand(0), edit.operand(1), edit.take("mode", "nearest")
    edit.node.op_type = "Resize"
    edit.set(mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    known = scales.const_value.numpy() if scales.const_value is not None and not scales.is_graph_input() else None
    if mode == "nearest" and (known is None or (known < 1).any()):
        one = edit.constant([1.0], np.float32)
        shrunk = {"mode": mode, "coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil"}
        x = edit.add("Resize", [x, None, edit.add("Min", [scales, one])], **shrunk)
        scales = edit.add("Max", [scales, one])
    edit.set_inputs(x, None, scales)


@rule("RoiAlign", before=16)
def align_to_pixel_corners(edit: NodeEditor) -> None:
    """Keep coordinates without the shift by half a pixel that later became the default."""
    edit.set(coordinate_transformation_mode="output_half_pixel")


@rule("GridSample", before=20)
def rename_modes(edit: NodeEditor) -> None:
    """Use the modes' names for any number of dims."""
    mode = edit.take("mode", "bilinear")
    edit.set(mode=_GRID_MODES.get(mode, mode))

"""The normal form: any opset from 6 on in, one opset out, functions inlined, constants as initializers, fused patterns.

The passes in their order, each with what it needs and gives:

    InlinePass                      model-local functions -> their nodes
    raise_opset                     any opset -> OPSET
    LiftConstantsToInitializers     Constant nodes -> initializers
    RemoveUnusedNodes               -> no dead nodes
    ShapeInference                  -> shapes and dtypes on every value it can tell
    ExpandFunctions                 operators that ONNX defines by a graph, without a handler -> that graph
    FuseLinear                      MatMul + Add -> tfbundle::Linear
    FoldScale                       Conv, MatMul or Linear + Mul by channel -> scaled weights
    PointwiseFirst                  Resize + Conv 1x1 -> Conv 1x1 + Resize
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from bundler.errors import ConversionError
from bundler.graph.expand import ExpandFunctions
from bundler.graph.fold_scale import FoldScale
from bundler.graph.fuse_linear import FuseLinear
from bundler.graph.opset import raise_opset
from bundler.graph.pointwise_first import PointwiseFirst


def normalize(model: ir.Model) -> ir.Model:
    """Bring a model to the normal form, in place where that is possible.

    Raises:
        ConversionError: no opset of the default domain, an opset below 6, or a graph that ONNX's own tools refuse.
    """
    try:
        model = common.InlinePass()(model).model
        model = raise_opset(model)
        model = common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model).model
        model = common.RemoveUnusedNodesPass()(model).model
        model = common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model).model
        model = ExpandFunctions()(model).model
        model = FuseLinear()(model).model
        model = FoldScale()(model).model
        model = PointwiseFirst()(model).model
        model.graph.sort()
    except (ValueError, ir.passes.PassError) as exc:
        raise ConversionError(
            f"The ONNX graph cannot be brought to its normal form: {exc}.", fix="check the file with onnx.checker"
        ) from exc
    return model

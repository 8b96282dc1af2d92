"""Brings a model to its normal form: one opset, functions inlined, constants as initializers, patterns fused.

The passes in order; each works on the result of those before it:

    drop_constant_inputs            constants that IR version 3 lists as inputs -> constants only
    inline                          model-local functions -> their nodes
    LiftConstantsToInitializers     Constant nodes -> initializers
    LiftWeights                     large constants of branches and bodies -> the outermost graph
    raise_opset                     any opset -> OPSET; the Constant nodes that it adds are lifted too
    RemoveUnusedNodes               nodes that nothing reads -> removed
    infer_shapes                    -> shapes and dtypes on every value for which they can be inferred
    ExpandFunctions                 operators that ONNX defines by a graph, without a handler -> that graph
    ReduceBooleans                  torch.any as a maximum of integers -> a maximum of booleans
    DropCasts                       Cast to the type that a value already has -> removed
    FuseFakeQuantize                QuantizeLinear + DequantizeLinear -> tfbundle::FakeQuantize
    FuseGelu                        its formula with erf or tanh -> Gelu
    FuseHardSwish                   x clip(x + 3, 0, 6) / 6 and the like -> HardSwish
    FuseLayerNorm                   its formula -> LayerNormalization
    FuseRMSNorm                     its formula -> RMSNormalization
    FuseGroupNorm                   Reshape + InstanceNormalization + Reshape + Mul + Add -> GroupNormalization
    FuseMaskedSoftmax               Softmax of masked scores with zeros for NaN -> tfbundle::MaskedSoftmax
    FuseLinear                      MatMul + Add -> tfbundle::Linear
    FuseAttention                   scale of attention -> weights of the query; three moves of the key -> one Transpose
    SliceFirst                      parts of channels that are split into heads -> parts of the channels, with an axis less
    FoldBatchNorm                   product + BatchNormalization -> scaled weights
    FoldScale                       product + Mul by channel -> scaled weights
    PointwiseFirst                  Resize + Conv 1x1 -> Conv 1x1 + Resize
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes import common

from bundler.graph.drop_casts import DropCasts
from bundler.graph.expand import ExpandFunctions, inline
from bundler.graph.fold_batch_norm import FoldBatchNorm
from bundler.graph.fold_scale import FoldScale
from bundler.graph.fuse_attention import FuseAttention
from bundler.graph.fuse_fake_quantize import FuseFakeQuantize
from bundler.graph.fuse_gelu import FuseGelu
from bundler.graph.fuse_group_norm import FuseGroupNorm
from bundler.graph.fuse_hard_swish import FuseHardSwish
from bundler.graph.fuse_layer_norm import FuseLayerNorm
from bundler.graph.fuse_linear import FuseLinear
from bundler.graph.fuse_masked_softmax import FuseMaskedSoftmax
from bundler.graph.fuse_rms_norm import FuseRMSNorm
from bundler.graph.fusion import Fusion
from bundler.graph.infer import infer_shapes
from bundler.graph.lift_weights import LiftWeights
from bundler.graph.load import conversion_errors, drop_constant_inputs
from bundler.graph.operand_dtypes import UniteOperandDtypes
from bundler.graph.opset import raise_opset
from bundler.graph.pointwise_first import PointwiseFirst
from bundler.graph.reduce_booleans import ReduceBooleans
from bundler.graph.slice_first import SliceFirst

FUSIONS: tuple[type[Fusion], ...] = (
    DropCasts, FuseFakeQuantize, FuseGelu, FuseHardSwish, FuseLayerNorm, FuseRMSNorm, FuseGroupNorm, FuseMaskedSoftmax,
    FuseLinear, FuseAttention, SliceFirst, FoldBatchNorm, FoldScale, PointwiseFirst,
)  # fmt: skip
"""All fusions, in the order in which they run."""


def normalize(model: ir.Model, fusions: Sequence[type[Fusion]] = FUSIONS) -> ir.Model:
    """Return the normal form of a model.

    Args:
        model: the model, which must not be used afterwards.
        fusions: the fusions to run; a benchmark leaves one out to measure what it gains.

    Raises:
        ConversionError: the model has no opset of the default domain, an operator of its opset cannot be expressed
            in OPSET, or ONNX's own tools reject the graph.
    """
    lift = common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)
    with conversion_errors("The ONNX graph cannot be brought to its normal form"):
        drop_constant_inputs(model)
        inline(model)
        model = LiftWeights()(lift(model).model).model
        model = lift(raise_opset(model)).model
        model = common.RemoveUnusedNodesPass()(model).model
        infer_shapes(model)
        if UniteOperandDtypes()(model).modified:
            model = lift(model).model
            infer_shapes(model)
        model = ReduceBooleans()(ExpandFunctions()(model).model).model
        for fusion in fusions:
            model = fusion()(model).model
        model.graph.sort()
    return model

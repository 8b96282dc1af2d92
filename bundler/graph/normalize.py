"""The normal form: any opset from 6 on in, one opset out, functions inlined, constants as initializers, fused patterns.

The passes in their order, each with what it needs and gives:

    part_constants                  constants that IR version 3 lists as inputs -> constants
    InlinePass                      model-local functions -> their nodes
    LiftConstantsToInitializers     Constant nodes -> initializers
    LiftWeights                     large constants of branches and bodies -> the outermost graph
    raise_opset                     any opset -> OPSET; what it writes as Constant nodes is lifted too
    RemoveUnusedNodes               -> no dead nodes
    infer_shapes                    -> shapes and dtypes on every value it can tell
    ExpandFunctions                 operators that ONNX defines by a graph, without a handler -> that graph
    DropCasts                       no Cast to the type that a value has already
    FuseFakeQuantize                QuantizeLinear + DequantizeLinear -> tfbundle::FakeQuantize
    FuseGelu                        its formula with erf or tanh -> Gelu
    FuseHardSwish                   x clip(x + 3, 0, 6) / 6 and the like -> HardSwish
    FuseLayerNorm                   its formula -> LayerNormalization
    FuseRMSNorm                     its formula -> RMSNormalization
    FuseGroupNorm                   Reshape + InstanceNormalization + Reshape + Mul + Add -> GroupNormalization
    FuseMaskedSoftmax               Softmax of masked scores with zeros for NaN -> tfbundle::MaskedSoftmax
    FuseLinear                      MatMul + Add -> tfbundle::Linear
    FuseAttention                   the scale of attention -> the weights of its query; the key's three moves -> one
    FoldBatchNorm                   a product beside BatchNormalization -> scaled weights
    FoldScale                       a product + Mul by channel -> scaled weights
    PointwiseFirst                  Resize + Conv 1x1 -> Conv 1x1 + Resize
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes import common

from bundler.graph.drop_casts import DropCasts
from bundler.graph.expand import ExpandFunctions
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
from bundler.graph.load import part_constants, refusals
from bundler.graph.opset import raise_opset
from bundler.graph.pointwise_first import PointwiseFirst

FUSIONS: tuple[type[Fusion], ...] = (
    DropCasts, FuseFakeQuantize, FuseGelu, FuseHardSwish, FuseLayerNorm, FuseRMSNorm, FuseGroupNorm, FuseMaskedSoftmax,
    FuseLinear, FuseAttention, FoldBatchNorm, FoldScale, PointwiseFirst,
)  # fmt: skip
"""In this order."""


def normalize(model: ir.Model, fusions: Sequence[type[Fusion]] = FUSIONS) -> ir.Model:
    """Bring a model to the normal form, in place where that is possible.

    Args:
        fusions: others than all of them are for measuring what one of them gains.

    Raises:
        ConversionError: no opset of the default domain, an opset below 6, or a graph that ONNX's own tools refuse.
    """
    lift = common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)
    with refusals("The ONNX graph cannot be brought to its normal form"):
        part_constants(model)
        model = common.InlinePass()(model).model
        model = LiftWeights()(lift(model).model).model
        model = lift(raise_opset(model)).model
        model = common.RemoveUnusedNodesPass()(model).model
        infer_shapes(model)
        model = ExpandFunctions()(model).model
        for fusion in fusions:
            model = fusion()(model).model
        model.graph.sort()
    return model

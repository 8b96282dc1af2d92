"""FoldBatchNorm replaces a BatchNormalization by scaled weights, or gives a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from bundler.graph.fold_batch_norm import FoldBatchNorm
from bundler.graph.fuse_linear import FuseLinear
from bundler.graph.load import from_proto
from tests.bundler.converters.native.oracle import Array, array, model_of
from tests.bundler.graph.fusing import assert_agrees_unfused, exported, operators_after, operators_in, reasons

STATISTICS = ["gamma", "beta", "mean", "variance"]


def statistics(channels: int) -> dict[str, Array]:
    values = {name: array(channels, seed=seed) for seed, name in enumerate(STATISTICS, 3)}
    return {**values, "variance": np.abs(values["variance"]) + 0.1}


def norm_after(
    op_type: str, weight: tuple[int, ...], x: Array, *, bias: bool = True, channels: int = 6, outputs: tuple[str, ...] = ("y",),
    **attributes: Any,
) -> onnx.ModelProto:  # fmt: skip
    """x -> product with w (and b) -> BatchNormalization."""
    names = ["x", "w", "b"] if bias else ["x", "w"]
    nodes = [
        helper.make_node(op_type, names, ["c"], "product", **attributes),
        helper.make_node("BatchNormalization", ["c", *STATISTICS], ["y"], "norm", epsilon=1e-3),
    ]
    constants = {"w": array(*weight, seed=1), **({"b": array(channels, seed=2)} if bias else {}), **statistics(channels)}
    return model_of(nodes, {"x": x}, outputs, constants, opset=15)


IMAGE = array(2, 4, 7, 6)
FOLDED: list[tuple[str, dict[str, Any]]] = [
    ("Conv", {"op_type": "Conv", "weight": (6, 4, 3, 3), "x": IMAGE, "pads": [1, 1, 1, 1]}),
    ("Conv in groups", {"op_type": "Conv", "weight": (6, 2, 3, 3), "x": IMAGE, "group": 2}),
    ("Conv of one axis", {"op_type": "Conv", "weight": (6, 4, 3), "x": array(2, 4, 9)}),
    ("ConvTranspose", {"op_type": "ConvTranspose", "weight": (4, 6, 2, 2), "x": IMAGE, "strides": [2, 2]}),
    ("ConvTranspose in groups", {"op_type": "ConvTranspose", "weight": (4, 3, 3, 3), "x": IMAGE, "group": 2}),
    ("Gemm", {"op_type": "Gemm", "weight": (4, 6), "x": array(2, 4)}),
    ("Gemm, transposed", {"op_type": "Gemm", "weight": (6, 4), "x": array(2, 4), "transB": 1, "alpha": 0.5}),
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("options", [c[1] for c in FOLDED], ids=[c[0] for c in FOLDED])
def test_norm_after_a_product_is_folded(options: dict[str, Any], bias: bool) -> None:
    model, fusion = norm_after(**options, bias=bias), FoldBatchNorm()
    assert operators_after(fusion, model) == [options["op_type"]]
    assert (fusion.fused, fusion.declined) == (1, [])
    assert_agrees_unfused(model, {"x": options["x"]}, {"x": np.concatenate([options["x"] * 2, options["x"]])})


def test_norm_after_a_matmul_is_folded() -> None:
    model, fusion = norm_after("MatMul", (4, 6), array(2, 4), bias=False), FoldBatchNorm()
    assert operators_after(fusion, model) == ["Linear"]
    assert_agrees_unfused(model, {"x": array(2, 4)}, {"x": array(3, 4, seed=7)})


def test_norm_after_a_linear_is_folded() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["c"]),
        helper.make_node("BatchNormalization", ["c", *STATISTICS], ["y"]),
    ]  # fmt: skip
    constants = {"w": array(4, 6, seed=1), "b": array(6, seed=2), **statistics(6)}
    model = model_of(nodes, {"x": array(2, 4)}, ["y"], constants, opset=15)
    graph = FuseLinear()(from_proto(model)).model
    fusion = FoldBatchNorm()
    assert [node.op_type for node in fusion(graph).model.graph] == ["Linear"]
    assert_agrees_unfused(model, {"x": array(2, 4)})


def norm_before(*, bias: bool = True, **attributes: Any) -> onnx.ModelProto:
    """x -> BatchNormalization -> Conv."""
    names = ["n", "w", "b"] if bias else ["n", "w"]
    nodes = [
        helper.make_node("BatchNormalization", ["x", *STATISTICS], ["n"], "norm", epsilon=1e-3),
        helper.make_node("Conv", names, ["y"], "conv", **attributes),
    ]
    inner = 4 // attributes.get("group", 1)
    constants = {"w": array(6, inner, 3, 3, seed=1), **({"b": array(6, seed=2)} if bias else {}), **statistics(4)}
    return model_of(nodes, {"x": IMAGE}, ["y"], constants, opset=15)


@pytest.mark.parametrize("bias", [True, False])
def test_norm_before_a_convolution_is_folded(bias: bool) -> None:
    model, fusion = norm_before(bias=bias), FoldBatchNorm()
    assert operators_after(fusion, model) == ["Conv"]
    assert_agrees_unfused(model, {"x": IMAGE}, {"x": array(3, 4, 7, 6, seed=8)})


def test_pytorch_export_with_the_norm_first_is_folded() -> None:
    """PyTorch's exporter keeps a BatchNorm that has no convolution before it."""
    import torch

    block = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.ReLU())
    with torch.no_grad():
        block[0].running_mean.copy_(torch.arange(3.0)), block[0].running_var.copy_(torch.arange(3.0) + 1)
    model, fusion = exported(block, [torch.randn(2, 3, 9, 9)], 17), FoldBatchNorm()
    assert "BatchNormalization" in operators_in(model)
    assert operators_after(fusion, model) == ["Conv", "Relu"]
    assert_agrees_unfused(model, {"x0": array(2, 3, 9, 9)}, {"x0": array(3, 3, 9, 9, seed=1)})


CONV: dict[str, Any] = {"op_type": "Conv", "weight": (6, 4, 3, 3), "x": IMAGE}
DECLINED: list[tuple[str, onnx.ModelProto, str]] = [
    ("read elsewhere", norm_after(**CONV, outputs=("y", "c")), "Other nodes"),
    ("bias with a factor", norm_after("Gemm", (4, 6), array(2, 4), beta=0.5), "factor of the bias"),
    ("over rows", norm_after("MatMul", (4, 6), array(2, 6, 4), bias=False), "the channels of the product"),
    ("pads", norm_before(pads=[1, 1, 1, 1]), "must not have padding"),
    ("pads by name", norm_before(auto_pad="SAME_UPPER"), "must not have padding"),
    ("groups", norm_before(group=2), "one group"),
]


@pytest.mark.parametrize(("model", "reason"), [c[1:] for c in DECLINED], ids=[c[0] for c in DECLINED])
def test_declines_with_a_reason(model: onnx.ModelProto, reason: str) -> None:
    fusion = FoldBatchNorm()
    assert "BatchNormalization" in operators_after(fusion, model)
    assert [match.node for match in fusion.declined] == ["norm"]
    assert reason in reasons(fusion)[0]
    shape = [d.dim_value or 2 for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert_agrees_unfused(model, {"x": array(*shape)})


@pytest.mark.parametrize("model", [norm_after(**CONV), norm_before()], ids=["after", "before"])
def test_declines_weights_of_half_precision(model: onnx.ModelProto) -> None:
    """Scaled weights would be rounded again, and these errors are the same for all data."""
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    fusion = FoldBatchNorm()
    assert "BatchNormalization" in operators_after(fusion, model)
    assert reasons(fusion) == ["Weights of half precision would be rounded again."]


def test_declines_training_mode_and_computed_parameters() -> None:
    model, fusion = norm_after(**CONV), FoldBatchNorm()
    model.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))
    model.graph.node[1].output.extend(["running_mean", "running_variance"])
    assert "BatchNormalization" in operators_after(fusion, model)
    assert "training mode" in reasons(fusion)[0]
    model, fusion = norm_after(**CONV), FoldBatchNorm()
    gamma = next(w for w in model.graph.initializer if w.name == "gamma")
    model.graph.initializer.remove(gamma)
    model.graph.input.append(helper.make_tensor_value_info("gamma", onnx.TensorProto.FLOAT, [6]))
    assert "BatchNormalization" in operators_after(fusion, model)
    assert "must be constant" in reasons(fusion)[0]


def test_norm_after_a_relu_is_not_a_candidate() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["c"]), helper.make_node("BatchNormalization", ["c", *STATISTICS], ["y"])]
    model, fusion = model_of(nodes, {"x": IMAGE}, ["y"], statistics(4), opset=15), FoldBatchNorm()
    assert operators_after(fusion, model) == ["Relu", "BatchNormalization"]
    assert fusion.declined == []


def test_shared_weight_is_not_changed_for_other_nodes() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("BatchNormalization", ["c", *STATISTICS], ["n"]),
        helper.make_node("Conv", ["n", "w"], ["y"]),
    ]  # fmt: skip
    model = model_of(nodes, {"x": IMAGE}, ["y"], {"w": array(4, 4, 3, 3, seed=1), **statistics(4)}, opset=15)
    assert operators_after(FoldBatchNorm(), model) == ["Conv", "Conv"]
    assert_agrees_unfused(model, {"x": IMAGE})

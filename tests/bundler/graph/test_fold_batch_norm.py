"""FoldBatchNorm: scaled weights instead of a BatchNormalization, and a reason wherever it stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from bundler.graph.fold_batch_norm import FoldBatchNorm
from bundler.graph.fuse_linear import FuseLinear
from bundler.graph.load import from_proto
from tests.bundler.converters.native.oracle import Array, array, model_of
from tests.bundler.graph.fusing import agrees, apply, exported, of_nodes, reasons

STATISTICS = ["gamma", "beta", "mean", "variance"]


def statistics(channels: int) -> dict[str, Array]:
    values = {name: array(channels, seed=seed) for seed, name in enumerate(STATISTICS, 3)}
    return {**values, "variance": np.abs(values["variance"]) + 0.1}


def behind(
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
def test_behind_a_product(options: dict[str, Any], bias: bool) -> None:
    model, fusion = behind(**options, bias=bias), FoldBatchNorm()
    assert apply(fusion, model) == [options["op_type"]]
    assert (fusion.fused, fusion.declined) == (1, [])
    agrees(model, {"x": options["x"]}, {"x": np.concatenate([options["x"] * 2, options["x"]])})


def test_behind_a_matrix_product() -> None:
    model, fusion = behind("MatMul", (4, 6), array(2, 4), bias=False), FoldBatchNorm()
    assert apply(fusion, model) == ["Linear"]
    agrees(model, {"x": array(2, 4)}, {"x": array(3, 4, seed=7)})


def test_behind_a_linear() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["c"]),
        helper.make_node("BatchNormalization", ["c", *STATISTICS], ["y"]),
    ]  # fmt: skip
    constants = {"w": array(4, 6, seed=1), "b": array(6, seed=2), **statistics(6)}
    model = model_of(nodes, {"x": array(2, 4)}, ["y"], constants, opset=15)
    graph = FuseLinear()(from_proto(model)).model
    fusion = FoldBatchNorm()
    assert [node.op_type for node in fusion(graph).model.graph] == ["Linear"]
    agrees(model, {"x": array(2, 4)})


def before(*, bias: bool = True, **attributes: Any) -> onnx.ModelProto:
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
def test_before_a_convolution(bias: bool) -> None:
    model, fusion = before(bias=bias), FoldBatchNorm()
    assert apply(fusion, model) == ["Conv"]
    agrees(model, {"x": IMAGE}, {"x": array(3, 4, 7, 6, seed=8)})


def test_what_pytorch_exports_with_the_normalization_first() -> None:
    """The exporter leaves a BatchNorm where it is that has no convolution before it."""
    import torch

    block = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.ReLU())
    with torch.no_grad():
        block[0].running_mean.copy_(torch.arange(3.0)), block[0].running_var.copy_(torch.arange(3.0) + 1)
    model, fusion = exported(block, [torch.randn(2, 3, 9, 9)], 17), FoldBatchNorm()
    assert "BatchNormalization" in of_nodes(model)
    assert apply(fusion, model) == ["Conv", "Relu"]
    agrees(model, {"x0": array(2, 3, 9, 9)}, {"x0": array(3, 3, 9, 9, seed=1)})


CONV: dict[str, Any] = {"op_type": "Conv", "weight": (6, 4, 3, 3), "x": IMAGE}
DECLINED: list[tuple[str, onnx.ModelProto, str]] = [
    ("read elsewhere", behind(**CONV, outputs=("y", "c")), "other nodes"),
    ("bias with a factor", behind("Gemm", (4, 6), array(2, 4), beta=0.5), "factor of its own"),
    ("over rows", behind("MatMul", (4, 6), array(2, 6, 4), bias=False), "channels are not the product's"),
    ("pads", before(pads=[1, 1, 1, 1]), "has pads"),
    ("pads by name", before(auto_pad="SAME_UPPER"), "has pads"),
    ("groups", before(group=2), "groups"),
]


@pytest.mark.parametrize(("model", "reason"), [c[1:] for c in DECLINED], ids=[c[0] for c in DECLINED])
def test_a_reason_where_it_stays(model: onnx.ModelProto, reason: str) -> None:
    fusion = FoldBatchNorm()
    assert "BatchNormalization" in apply(fusion, model)
    assert [left.node for left in fusion.declined] == ["norm"]
    assert reason in reasons(fusion)[0]
    shape = [d.dim_value or 2 for d in model.graph.input[0].type.tensor_type.shape.dim]
    agrees(model, {"x": array(*shape)})


def test_training_mode_and_computed_parameters_stay() -> None:
    model, fusion = behind(**CONV), FoldBatchNorm()
    model.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))
    model.graph.node[1].output.extend(["running_mean", "running_variance"])
    assert "BatchNormalization" in apply(fusion, model)
    assert "training mode" in reasons(fusion)[0]
    model, fusion = behind(**CONV), FoldBatchNorm()
    gamma = next(w for w in model.graph.initializer if w.name == "gamma")
    model.graph.initializer.remove(gamma)
    model.graph.input.append(helper.make_tensor_value_info("gamma", onnx.TensorProto.FLOAT, [6]))
    assert "BatchNormalization" in apply(fusion, model)
    assert "not constants" in reasons(fusion)[0]


def test_behind_a_relu_is_no_candidate() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["c"]), helper.make_node("BatchNormalization", ["c", *STATISTICS], ["y"])]
    model, fusion = model_of(nodes, {"x": IMAGE}, ["y"], statistics(4), opset=15), FoldBatchNorm()
    assert apply(fusion, model) == ["Relu", "BatchNormalization"]
    assert fusion.declined == []


def test_a_weight_that_others_use_keeps_its_values() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("BatchNormalization", ["c", *STATISTICS], ["n"]),
        helper.make_node("Conv", ["n", "w"], ["y"]),
    ]  # fmt: skip
    model = model_of(nodes, {"x": IMAGE}, ["y"], {"w": array(4, 4, 3, 3, seed=1), **statistics(4)}, opset=15)
    assert apply(FoldBatchNorm(), model) == ["Conv", "Conv"]
    agrees(model, {"x": IMAGE})

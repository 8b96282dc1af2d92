"""FuseGroupNorm fuses an InstanceNormalization and the nodes around it, or gives a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from bundler.graph.fuse_group_norm import FuseGroupNorm
from tests.bundler.converters.native.oracle import Array, array, model_of, native
from tests.bundler.graph.fusing import assert_agrees_unfused, exported, operators_after, operators_in, reasons


def grouped(
    *, shape: tuple[int, ...] = (2, 6, 4, 5), split: Any = (0, 3, -1), merge: str = "s", beta: bool = True,
    outputs: tuple[str, ...] = ("y",), **constants: Array,
) -> onnx.ModelProto:  # fmt: skip
    """x -> Reshape to [N, 3, -1] -> InstanceNormalization -> Reshape to the shape of x -> Mul -> Add."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Reshape", ["x", "split"], ["r"], "split"),
        helper.make_node("InstanceNormalization", ["r", "ones", "zeros"], ["i"], "norm", epsilon=1e-4),
        helper.make_node("Reshape", ["i", merge], ["m" if beta else "y"], "merge"),
    ]  # fmt: skip
    by_channel = (6, *[1] * (len(shape) - 2))
    values = {
        "split": np.array(split, np.int64), "ones": np.ones(3, np.float32), "zeros": np.zeros(3, np.float32),
        "gamma": array(*by_channel, seed=1), "beta": array(*by_channel, seed=2), **constants,
    }  # fmt: skip
    if beta:
        nodes += [helper.make_node("Mul", ["m", "gamma"], ["g"], "mul"), helper.make_node("Add", ["g", "beta"], ["y"], "add")]
    read = {name for node in nodes for name in node.input}
    return model_of(nodes, {"x": array(*shape)}, outputs, {k: v for k, v in values.items() if k in read})


def larger(x: Array) -> dict[str, Array]:
    return {"x": np.concatenate([x * 3 + 1, x[::-1]])}


@pytest.mark.parametrize("shape", [(2, 6, 20), (2, 6, 4, 5), (2, 6, 2, 3, 4)], ids=["1-D", "2-D", "3-D"])
def test_all_nodes_become_one_operator(shape: tuple[int, ...]) -> None:
    model, fusion = grouped(shape=shape), FuseGroupNorm()
    assert operators_after(fusion, model) == ["GroupNormalization"]
    assert (fusion.fused, fusion.declined) == (1, [])
    assert_agrees_unfused(model, {"x": array(*shape)}, larger(array(*shape)))


CASES: list[tuple[str, dict[str, Any]]] = [
    ("without scale and bias", {"beta": False}),
    ("scale and bias of the groups too", {"ones": array(3, seed=5), "zeros": array(3, seed=6)}),
    ("constants of rank 4", {"gamma": array(1, 6, 1, 1, seed=1)}),
]


@pytest.mark.parametrize("options", [c[1] for c in CASES], ids=[c[0] for c in CASES])
def test_scale_and_bias_are_fused(options: dict[str, Any]) -> None:
    model, fusion = grouped(**options), FuseGroupNorm()
    assert operators_after(fusion, model) == ["GroupNormalization"]
    assert_agrees_unfused(model, {"x": array(2, 6, 4, 5)}, larger(array(2, 6, 4, 5)))


def test_mul_by_pixel_is_not_fused() -> None:
    model, fusion = grouped(gamma=array(4, 5, seed=1)), FuseGroupNorm()
    assert operators_after(fusion, model) == ["GroupNormalization", "Mul", "Add"]
    assert_agrees_unfused(model, {"x": array(2, 6, 4, 5)})


@pytest.mark.parametrize(("opset", "dynamo"), [(14, False), (18, False), (18, True)])
def test_pytorch_export_is_fused(opset: int, dynamo: bool) -> None:
    """Between convolutions, the model transposes the image only at its input and at its output."""
    import torch

    norm = torch.nn.GroupNorm(2, 8)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(8.0)), norm.bias.copy_(torch.arange(8.0) - 3)
    block = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), norm, torch.nn.SiLU(), torch.nn.Conv2d(8, 5, 3))
    model, fusion = exported(block, [torch.randn(2, 3, 9, 9)], opset, dynamo=dynamo), FuseGroupNorm()
    assert "InstanceNormalization" in operators_in(model)
    assert [o for o in operators_after(fusion, model) if o != "Shape"] == ["Conv", "GroupNormalization", "Sigmoid", "Mul", "Conv"]
    assert_agrees_unfused(model, {"x0": array(2, 3, 9, 9)}, {"x0": array(3, 3, 9, 9, seed=1)})
    operations = native(model).static({"x0": (2, 3, 9, 9)}).graph.get_operations()
    assert sum(o.type == "Transpose" for o in operations) == 2


DECLINED: list[tuple[str, dict[str, Any], str]] = [
    ("other groups", {"split": (0, 3, 2, 20), "merge": "s"}, "must be reshaped to"),
    ("across examples", {"split": (1, 3, -1)}, "keep the batch"),
    ("another shape after it", {"merge": "flat", "flat": np.array([0, 6, 20, 1], np.int64)}, "to the original shape"),
    ("read elsewhere", {"outputs": ("y", "i")}, "Other nodes"),
]


@pytest.mark.parametrize(("options", "reason"), [c[1:] for c in DECLINED], ids=[c[0] for c in DECLINED])
def test_declines_with_a_reason(options: dict[str, Any], reason: str) -> None:
    model, fusion = grouped(**options), FuseGroupNorm()
    assert "GroupNormalization" not in operators_after(fusion, model)
    assert [match.node for match in fusion.declined] == ["norm"]
    assert reason in reasons(fusion)[0]
    assert_agrees_unfused(model, {"x": array(2, 6, 4, 5)})


def test_declines_an_unknown_number_of_channels() -> None:
    model, fusion = grouped(gamma=np.float32(2).reshape(1), beta=False), FuseGroupNorm()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "channels"
    del model.graph.value_info[:]
    assert "GroupNormalization" not in operators_after(fusion, model)
    assert "number of channels" in reasons(fusion)[0]


def test_instance_normalization_alone_is_not_a_candidate() -> None:
    nodes = [helper.make_node("InstanceNormalization", ["x", "ones", "zeros"], ["y"])]
    constants = {"ones": np.ones(6, np.float32), "zeros": np.zeros(6, np.float32)}
    fusion = FuseGroupNorm()
    assert operators_after(fusion, model_of(nodes, {"x": array(2, 6, 4, 5)}, ["y"], constants)) == ["InstanceNormalization"]
    assert fusion.declined == []

"""FuseHardSwish fuses every way to write HardSwish, or gives a reason; SiLU needs no pass."""

from __future__ import annotations

from collections import Counter
from typing import Any

import onnx
import pytest
from onnx import helper

from bundler.graph.fuse_hard_swish import FuseHardSwish
from tests.bundler.converters.native.oracle import array, model_of, native
from tests.bundler.graph.fusing import assert_agrees_unfused, exported, formula, operators_after, operators_in, reasons

NUMBERS: dict[str, Any] = {"zero": 0.0, "three": 3.0, "six": 6.0, "one": 1.0, "sixth": 1 / 6, "half": 0.5}


def hard(lines: list[str], outputs: tuple[str, ...] = ("y",), **numbers: float) -> onnx.ModelProto:
    """Build a model of the lines; a HardSigmoid has an alpha of 1/6."""
    model = formula(lines, array(2, 5, 6), {**NUMBERS, **numbers}, outputs)
    for node in model.graph.node:
        if node.op_type == "HardSigmoid":
            node.attribute.append(helper.make_attribute("alpha", numbers.get("alpha", 1 / 6)))
    return model


SHIFTED = ["x Add three -> p", "Clip p zero six -> t"]
FUSED: list[tuple[str, list[str]]] = [
    ("HardSigmoid", ["HardSigmoid x -> t", "x Mul t -> y"]),
    ("(x clip) / 6", [*SHIFTED, "x Mul t -> a", "a Div six -> y"]),
    ("x (clip / 6)", [*SHIFTED, "t Div six -> a", "a Mul x -> y"]),
    ("(x / 6) clip", [*SHIFTED, "x Mul sixth -> a", "a Mul t -> y"]),
    ("clip(x / 6 + 1/2, 0, 1)", ["x Div six -> s", "half Add s -> p", "Clip p zero one -> t", "t Mul x -> y"]),
]


@pytest.mark.parametrize("lines", [c[1] for c in FUSED], ids=[c[0] for c in FUSED])
def test_every_way_to_write_the_formula_is_fused(lines: list[str]) -> None:
    model, fusion = hard(lines), FuseHardSwish()
    assert operators_after(fusion, model) == ["HardSwish"]
    assert (fusion.fused, fusion.declined) == (1, [])
    assert_agrees_unfused(model, {"x": array(2, 5, 6) * 4}, {"x": array(3, 5, 6, seed=1) * 4})


def test_pytorch_export_is_fused() -> None:
    import torch

    class Squeezed(torch.nn.Module):
        """HardSwish as written in the code of MobileNetV3 and its relatives."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.nn.functional.relu6(x + 3.0) / 6.0

    model, fusion = exported(Squeezed(), [torch.randn(2, 5, 6)], 14), FuseHardSwish()
    assert operators_in(model) == ["Add", "Clip", "Mul", "Div"]
    assert operators_after(fusion, model) == ["HardSwish"]
    assert_agrees_unfused(model, {"x0": array(2, 5, 6) * 4}, {"x0": array(3, 5, 6, seed=1) * 4})


DECLINED: list[tuple[str, list[str], dict[str, Any], str]] = [
    ("alpha 0.2", FUSED[0][1], {"alpha": 0.2}, "clip(0.2 x + 0.5, 0, 1) times 1 x"),
    ("plus 2", FUSED[1][1], {"three": 2.0}, "clip(1 x + 2, 0, 6)"),
    ("up to 5", [*SHIFTED[:1], "Clip p zero top -> t", "x Mul t -> a", "a Div six -> y"], {"top": 5.0}, "0, 5)"),
    ("from -1", FUSED[1][1], {"zero": -1.0}, "must go from 0"),
    ("not divided", [*SHIFTED, "x Mul t -> y"], {}, "times 1 x"),
    ("read elsewhere", FUSED[1][1], {"outputs": ("y", "t")}, "Other nodes"),
]


@pytest.mark.parametrize(("lines", "options", "reason"), [c[1:] for c in DECLINED], ids=[c[0] for c in DECLINED])
def test_declines_with_a_reason(lines: list[str], options: dict[str, Any], reason: str) -> None:
    model, fusion = hard(lines, **options), FuseHardSwish()
    assert "HardSwish" not in operators_after(fusion, model)
    assert len(reasons(fusion)) == 1
    assert reason in reasons(fusion)[0]
    assert_agrees_unfused(model, {"x": array(2, 5, 6) * 4})


OTHERS: list[tuple[str, list[str]]] = [
    ("a gate of another value", ["Sigmoid x -> z", "HardSigmoid z -> t", "x Mul t -> y"]),
    ("relu6 alone", [*SHIFTED[:1], "Clip p zero six -> y"]),
    ("squared", [*SHIFTED, "x Mul t -> a", "a Mul x -> y"]),
]


@pytest.mark.parametrize("lines", [c[1] for c in OTHERS], ids=[c[0] for c in OTHERS])
def test_similar_formulas_are_not_candidates(lines: list[str]) -> None:
    model, fusion = hard(lines), FuseHardSwish()
    assert "HardSwish" not in operators_after(fusion, model)
    assert_agrees_unfused(model, {"x": array(2, 5, 6) * 4})


def test_swish_is_lowered_to_sigmoid_and_mul() -> None:
    """TensorFlow fuses x * sigmoid(x), so Swish is lowered to the same pair of operators."""
    pair = model_of(
        [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Mul", ["x", "s"], ["y"])], {"x": array(2, 5)}, ["y"]
    )
    swish = model_of([helper.make_node("Swish", ["x"], ["y"])], {"x": array(2, 5)}, ["y"], opset=24)
    operators = [Counter(o.type for o in graph_of(model)) for model in (pair, swish)]
    assert operators[0] == operators[1]
    assert operators[0]["Sigmoid"] == operators[0]["Mul"] == 1
    assert_agrees_unfused(pair, {"x": array(2, 5)}, {"x": array(3, 5, seed=1)})


def graph_of(model: onnx.ModelProto) -> Any:
    function = native(model).static({"x": (2, 5)})
    return function.graph.get_operations()

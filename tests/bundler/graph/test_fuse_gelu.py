"""FuseGelu fuses every way to write Gelu, or gives a reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest

from bundler.graph.fuse_gelu import FuseGelu
from tests.bundler.converters.native.oracle import array
from tests.bundler.graph.fusing import assert_agrees_unfused, exported, formula, operators_after, operators_in, reasons

ERF: list[tuple[str, list[str]]] = [
    ("(x g) / 2", ["x Mul g -> a", "half Mul a -> y"]),
    ("(x / 2) g", ["x Mul half -> a", "a Mul g -> y"]),
    ("x (g / 2)", ["g Mul half -> a", "a Mul x -> y"]),
    ("Div by 2", ["x Div two -> a", "g Mul a -> y"]),
    ("multiplied out", ["x Mul half -> a", "a Mul t -> b", "b Add a -> y"]),
]
"""Ways to compute the result from x, t = erf(x / √2) and g = t + 1."""

NUMBERS: dict[str, Any] = {
    "root": 2**0.5, "over": 0.5**0.5, "one": 1.0, "half": 0.5, "two": 2.0,
    "coefficient": 0.044715, "inner": (2 / np.pi) ** 0.5,
}  # fmt: skip


def gelu(lines: Sequence[str], **options: Any) -> onnx.ModelProto:
    """Build a model of the lines over x [batch, 5, 6]; float options replace entries of NUMBERS."""
    numbers = {**NUMBERS, **{k: options.pop(k) for k in list(options) if isinstance(options[k], float)}}
    return formula(lines, array(2, 5, 6, dtype=options.get("dtype", np.float32)), numbers, **options)


TAILS = pytest.mark.parametrize("tail", [case[1] for case in ERF], ids=[case[0] for case in ERF])


@TAILS
@pytest.mark.parametrize("scaled", ["x Div root -> s", "x Mul over -> s", "over Mul x -> s"])
def test_formula_with_erf_is_fused(scaled: str, tail: list[str]) -> None:
    lines = [scaled, "Erf s -> t", *(["one Add t -> g"] if any("g" in t for t in tail) else []), *tail]
    model, fusion = gelu(lines), FuseGelu()
    assert operators_after(fusion, model) == ["Gelu"]
    assert (fusion.fused, fusion.declined) == (1, [])
    assert_agrees_unfused(model, {"x": array(2, 5, 6)}, {"x": array(3, 5, 6, seed=1) * 3})


CUBES: list[tuple[str, list[str]]] = [
    ("Pow", ["x Pow three -> c", "coefficient Mul c -> k", "x Add k -> p", "inner Mul p -> s"]),
    ("Mul", ["x Mul x -> q", "x Mul q -> c", "c Mul coefficient -> k", "k Add x -> p", "p Mul inner -> s"]),
    ("x outside", ["x Mul x -> q", "coefficient Mul q -> k", "k Add one -> p", "x Mul inner -> i", "i Mul p -> s"]),
]


@TAILS
@pytest.mark.parametrize("cube", [case[1] for case in CUBES], ids=[case[0] for case in CUBES])
def test_formula_with_tanh_is_fused(cube: list[str], tail: list[str]) -> None:
    lines = [*cube, "Tanh s -> t", *(["t Add one -> g"] if any("g" in t for t in tail) else []), *tail]
    model, fusion = gelu(lines, three=3.0), FuseGelu()
    assert operators_after(fusion, model) == ["Gelu"]
    assert_agrees_unfused(model, {"x": array(2, 5, 6)}, {"x": array(1, 5, 6, seed=1) * 3})


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("opset", [14, 17])
def test_pytorch_export_is_fused(approximate: str, opset: int) -> None:
    import torch

    block = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.GELU(approximate))
    model, fusion = exported(block, [torch.randn(2, 5, 6)], opset), FuseGelu()
    assert {"Erf", "Tanh"} & set(operators_in(model))
    assert operators_after(fusion, model)[-1:] == ["Gelu"]
    assert_agrees_unfused(model, {"x0": array(2, 5, 6)}, {"x0": array(3, 5, 6, seed=1)})


def test_constants_rounded_to_half_precision_are_accepted() -> None:
    model, fusion = gelu(WHOLE, dtype=np.float16), FuseGelu()
    assert operators_after(fusion, model) == ["Gelu"]
    assert_agrees_unfused(model, {"x": array(2, 5, 6, dtype=np.float16)}, rtol=1e-2, atol=2e-3)


WHOLE = ["x Div root -> s", "Erf s -> t", "t Add one -> g", "x Mul g -> a", "a Mul half -> y"]

DECLINED: list[tuple[str, dict[str, Any], str]] = [
    ("another factor", {"half": 0.4}, "those of Gelu, but are 0.7071068, 0.4, 0.4"),
    ("another root", {"root": 1.5}, "those of Gelu, but are 0.6666667"),
    ("another sum", {"one": 1.1}, "those of Gelu"),
    ("read elsewhere", {"outputs": ("y", "g")}, "Other nodes"),
]


@pytest.mark.parametrize(("options", "reason"), [c[1:] for c in DECLINED], ids=[c[0] for c in DECLINED])
def test_declines_with_a_reason(options: dict[str, Any], reason: str) -> None:
    model, fusion = gelu(WHOLE, **options), FuseGelu()
    assert operators_after(fusion, model) == ["Div", "Erf", "Add", "Mul", "Mul"]
    assert [match.node for match in fusion.declined] == ["t"]
    assert reason in reasons(fusion)[0]
    assert_agrees_unfused(model, {"x": array(2, 5, 6)})


OTHERS: list[tuple[str, list[str]]] = [
    ("erf alone", ["x Div root -> s", "Erf s -> y"]),
    ("times another value", [*WHOLE[:3], "Sigmoid x -> z", "z Mul g -> a", "half Mul a -> y"]),
    ("tanh of x", ["Tanh x -> t", "t Add one -> g", "x Mul g -> a", "a Mul half -> y"]),
]


@pytest.mark.parametrize("lines", [c[1] for c in OTHERS], ids=[c[0] for c in OTHERS])
def test_similar_formulas_are_not_candidates(lines: list[str]) -> None:
    model, fusion = gelu(lines), FuseGelu()
    assert "Gelu" not in operators_after(fusion, model)
    assert fusion.declined == []
    assert_agrees_unfused(model, {"x": array(2, 5, 6)})


def test_constant_that_raises_the_rank_is_not_a_number() -> None:
    numbers = {**NUMBERS, "half": np.full((1, 1, 1), 0.5, np.float32)}
    model, fusion = formula(WHOLE, array(2, 6), numbers), FuseGelu()
    assert "Gelu" not in operators_after(fusion, model)
    assert_agrees_unfused(model, {"x": array(2, 6)})


def test_output_keeps_its_name_and_shape() -> None:
    from bundler.graph.load import from_proto

    graph = FuseGelu()(from_proto(gelu(WHOLE))).model.graph
    (node,) = graph
    assert [o.name for o in graph.outputs] == ["y"]
    assert node.outputs[0] is graph.outputs[0]
    assert node.outputs[0].shape is not None
    assert [str(d) for d in node.outputs[0].shape] == ["batch", "5", "6"]

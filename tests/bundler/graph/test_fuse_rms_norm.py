"""FuseRMSNorm fuses every way to write RMSNormalization, or gives a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bundler.graph.fuse_rms_norm import FuseRMSNorm
from tests.bundler.converters.native.oracle import array
from tests.bundler.graph.fusing import assert_agrees_unfused, exported, formula, operators_after, operators_in, reasons

CONSTANTS: dict[str, Any] = {
    "last": np.array([-1], np.int64), "middle": np.array([1], np.int64), "two": 2.0, "minus": -0.5, "one": 1.0, "epsilon": 1e-6,
    "gamma": array(6, seed=1), "gamma3": array(1, 1, 6, seed=1), "rows": array(5, 1, seed=4),
}  # fmt: skip
SQUARES = ["x Pow two -> q", "ReduceMean q last -> v", "v Add epsilon -> e"]
ROOT = ["Sqrt e -> r", "Reciprocal r -> i", "x Mul i -> n"]
WHOLE = [*SQUARES, *ROOT, "gamma Mul n -> y"]

FUSED: list[tuple[str, list[str]]] = [
    ("Reciprocal", WHOLE),
    ("Mul", ["x Mul x -> q", *SQUARES[1:], *ROOT, "n Mul gamma -> y"]),
    ("Div", [*SQUARES, "Sqrt e -> r", "x Div r -> n", "n Mul gamma3 -> y"]),
    ("1 / root", [*SQUARES, "Sqrt e -> r", "one Div r -> i", "i Mul x -> n", "n Mul gamma -> y"]),
    ("a power of minus a half", [*SQUARES, "e Pow minus -> i", "x Mul i -> n", "n Mul gamma -> y"]),
]


@pytest.mark.parametrize("lines", [c[1] for c in FUSED], ids=[c[0] for c in FUSED])
def test_every_way_to_write_the_formula_is_fused(lines: list[str]) -> None:
    model, fusion = formula(lines, array(2, 5, 6), CONSTANTS), FuseRMSNorm()
    assert operators_after(fusion, model) == ["RMSNormalization"]
    assert (fusion.fused, fusion.declined) == (1, [])
    assert_agrees_unfused(model, {"x": array(2, 5, 6)}, {"x": array(3, 5, 6, seed=5) * 9 + 4})


def test_pytorch_export_is_fused() -> None:
    import torch

    norm = torch.nn.RMSNorm(6, eps=1e-6)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(6.0))
    model, fusion = exported(norm, [torch.randn(2, 5, 6)], 18, dynamo=True), FuseRMSNorm()
    assert "ReduceMean" in operators_in(model)
    assert operators_after(fusion, model) == ["RMSNormalization"]
    assert_agrees_unfused(model, {"x0": array(2, 5, 6)}, {"x0": array(3, 5, 6, seed=1)})


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_norm_of_large_language_models_is_fused(dtype: str) -> None:
    """They compute it in float32 whatever the type of x, and cast back before the weight."""
    import torch

    class Norm(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.arange(6, dtype=getattr(torch, dtype)) - 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            wide = x.to(torch.float32)
            wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
            return self.weight * wide.to(x.dtype)

    model, fusion = exported(Norm(), [torch.zeros(2, 5, 6, dtype=getattr(torch, dtype))], 17), FuseRMSNorm()
    assert "Cast" in operators_in(model)
    assert operators_after(fusion, model) == ["RMSNormalization"]
    assert_agrees_unfused(model, {"x0": array(2, 5, 6, dtype=dtype)}, rtol=2e-3, atol=2e-3)


DECLINED: list[tuple[str, list[str], dict[str, Any], str]] = [
    ("axis not last", [line.replace("last", "middle").replace("gamma", "rows") for line in WHOLE], {}, "last axes, but is over"),
    ("no epsilon", [*SQUARES[:2], "Sqrt v -> r", "Reciprocal r -> i", *ROOT[2:], "gamma Mul n -> y"], {}, "A constant epsilon"),
    ("no scale", [*SQUARES, *ROOT[:2], "x Mul i -> y"], {}, "must scale the result"),
    ("computed scale", [*WHOLE[:-1], "n Mul x -> y"], {}, "must be constant"),
    ("scale by row", [*WHOLE[:-1], "n Mul rows -> y"], {}, "shape of the last axes, [6]"),
    ("read elsewhere", WHOLE, {"outputs": ("y", "i")}, "Other nodes"),
]


@pytest.mark.parametrize(("lines", "options", "reason"), [c[1:] for c in DECLINED], ids=[c[0] for c in DECLINED])
def test_declines_with_a_reason(lines: list[str], options: dict[str, Any], reason: str) -> None:
    model, fusion = formula(lines, array(2, 5, 6), CONSTANTS, **options), FuseRMSNorm()
    assert "RMSNormalization" not in operators_after(fusion, model)
    assert len(reasons(fusion)) == 1
    assert reason in reasons(fusion)[0]
    assert_agrees_unfused(model, {"x": array(2, 5, 6)})


def test_declines_another_precision() -> None:
    """The formula is computed in float64 and scaled in float32."""
    lines = ["Cast:float64 x -> w", "w Mul w -> q", "ReduceMean q last -> v", "v Add wide -> e",
             "Sqrt e -> r", "w Div r -> n", "Cast:float32 n -> s", "s Mul gamma -> y"]  # fmt: skip
    model = formula(lines, array(2, 5, 6), {**CONSTANTS, "wide": np.array(1e-6)})
    fusion = FuseRMSNorm()
    assert "RMSNormalization" not in operators_after(fusion, model)
    (reason,) = reasons(fusion)
    assert "DOUBLE" in reason
    assert_agrees_unfused(model, {"x": array(2, 5, 6)})


OTHERS: list[tuple[str, list[str]]] = [
    ("to the fourth", [line.replace("Pow two", "Pow one") for line in WHOLE]),
    ("another value is divided", ["Sigmoid x -> z", *(line.replace("x Mul i", "z Mul i") for line in WHOLE)]),
    ("centred", ["ReduceMean x last -> m", "x Sub m -> d", *(line.replace("x ", "d ") for line in WHOLE)]),
]


@pytest.mark.parametrize("lines", [c[1] for c in OTHERS], ids=[c[0] for c in OTHERS])
def test_similar_formulas_are_not_candidates(lines: list[str]) -> None:
    model, fusion = formula(lines, np.abs(array(2, 5, 6)), CONSTANTS), FuseRMSNorm()
    assert "RMSNormalization" not in operators_after(fusion, model)
    assert fusion.declined == []
    assert_agrees_unfused(model, {"x": np.abs(array(2, 5, 6))})

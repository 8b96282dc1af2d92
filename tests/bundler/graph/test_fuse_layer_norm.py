"""FuseLayerNorm fuses every way to write LayerNormalization, or gives a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from bundler.graph.fuse_layer_norm import FuseLayerNorm
from tests.bundler.converters.native.oracle import Array, array
from tests.bundler.graph.fusing import assert_agrees_unfused, exported, formula, operators_after, operators_in, reasons

CONSTANTS: dict[str, Any] = {
    "last": np.array([-1], np.int64), "second": np.array([2], np.int64), "both": np.array([1, 2], np.int64),
    "middle": np.array([1], np.int64), "two": 2.0, "half": 0.5, "minus": -0.5, "one": 1.0, "epsilon": 1e-5, "zero": 0.0,
    "gamma": array(6, seed=1), "beta": array(6, seed=2), "plane": array(5, 6, seed=3), "rows": array(5, 1, seed=4),
    "gamma3": array(1, 1, 6, seed=1), "beta3": array(1, 1, 6, seed=2),
}  # fmt: skip

CENTRED = ["ReduceMean x last -> m", "x Sub m -> d"]
VARIANCE = ["d Pow two -> q", "ReduceMean q last -> v", "v Add epsilon -> e"]
AFFINE = ["n Mul gamma -> s", "s Add beta -> y"]
WHOLE = [*CENTRED, *VARIANCE, "Sqrt e -> r", "d Div r -> n", *AFFINE]


def norm(lines: list[str], **options: Any) -> onnx.ModelProto:
    return formula(lines, array(2, 5, 6), CONSTANTS, **options)


FUSED: list[tuple[str, list[str]]] = [
    ("Pow, Sqrt, Div", WHOLE),
    ("Mul, Mul", [*CENTRED, "d Mul d -> q", *VARIANCE[1:], "Sqrt e -> r", "Reciprocal r -> i", "i Mul d -> n", *AFFINE]),
    ("1 / root", [*CENTRED, *VARIANCE, "Sqrt e -> r", "one Div r -> i", "d Mul i -> n", "gamma Mul n -> s", "beta Add s -> y"]),
    ("a power of a half", [*CENTRED, *VARIANCE, "e Pow half -> r", "d Div r -> n", *AFFINE]),
    ("a power of minus a half", [*CENTRED, *VARIANCE, "e Pow minus -> i", "d Mul i -> n", *AFFINE]),
    ("without bias", [*WHOLE[:-2], "n Mul gamma -> y"]),
    ("constants of rank 3", [*WHOLE[:-2], "gamma3 Mul n -> s", "beta3 Add s -> y"]),
    ("axis 2 of 3", [line.replace("last", "second") for line in WHOLE]),
    ("over two axes", [line.replace("last", "both").replace("gamma", "plane").replace("beta", "plane") for line in WHOLE]),
    ("casts to its own type", ["Cast:float32 x -> w", *(line.replace("x", "w") for line in WHOLE)]),
]


@pytest.mark.parametrize("lines", [c[1] for c in FUSED], ids=[c[0] for c in FUSED])
def test_every_way_to_write_the_formula_is_fused(lines: list[str]) -> None:
    model, fusion = norm(lines), FuseLayerNorm()
    assert operators_after(fusion, model) == ["LayerNormalization"]
    assert (fusion.fused, fusion.declined) == (1, [])
    assert_agrees_unfused(model, {"x": array(2, 5, 6)}, {"x": array(3, 5, 6, seed=5) * 9 + 4})


def test_pytorch_export_is_fused() -> None:
    import torch

    block = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.LayerNorm(8))
    with torch.no_grad():
        block[1].weight.copy_(torch.arange(8.0)), block[1].bias.copy_(torch.arange(8.0) - 3)
    model, fusion = exported(block, [torch.randn(2, 5, 6)], 16), FuseLayerNorm()
    assert operators_in(model).count("ReduceMean") == 2
    assert operators_after(fusion, model)[-1:] == ["LayerNormalization"]
    assert_agrees_unfused(model, {"x0": array(2, 5, 6)}, {"x0": array(3, 5, 6, seed=1)})


def test_residual_is_not_taken_for_a_bias() -> None:
    model, fusion = norm([*WHOLE[:-2], "n Mul gamma -> s", "s Add x -> y"]), FuseLayerNorm()
    assert operators_after(fusion, model) == ["LayerNormalization", "Add"]
    assert_agrees_unfused(model, {"x": array(2, 5, 6)})


HALF = ["Cast:float32 x -> w", *(line.replace("x", "w") for line in WHOLE[:-2])]


def half(lines: list[str]) -> onnx.ModelProto:
    """The formula in float32 over x in float16, scale and bias in float16."""
    model = formula(lines, array(2, 5, 6, dtype=np.float16), CONSTANTS)
    for weight in model.graph.initializer:
        if weight.name in ("gamma", "beta"):
            values = onnx.numpy_helper.to_array(weight).astype(np.float16)
            weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    del model.graph.value_info[:]
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    return onnx.shape_inference.infer_shapes(model)


def test_casts_around_the_formula_are_fused() -> None:
    model, fusion = half([*HALF, "Cast:float16 n -> h", "h Mul gamma -> s", "s Add beta -> y"]), FuseLayerNorm()
    assert operators_after(fusion, model) == ["LayerNormalization"]
    assert_agrees_unfused(model, {"x": array(2, 5, 6, dtype=np.float16)}, rtol=2e-3, atol=2e-3)


def test_cast_after_the_scale_is_not_fused() -> None:
    lines = [*HALF, *AFFINE[:1], "s Add beta -> z", "Cast:float16 z -> y"]
    model, fusion = formula(lines, array(2, 5, 6, dtype=np.float16), CONSTANTS), FuseLayerNorm()
    assert operators_after(fusion, model) == ["Cast", "LayerNormalization", "Cast"]
    assert_agrees_unfused(model, {"x": array(2, 5, 6, dtype=np.float16)}, rtol=1e-3, atol=1e-3)


DECLINED: list[tuple[str, list[str], dict[str, Any], str]] = [
    ("axis not last", [line.replace("last", "middle").replace("gamma", "rows") for line in WHOLE], {}, "last axes, but is over"),
    ("different axes", [line.replace("q last", "q both") for line in WHOLE], {}, "must be over the same axes"),
    ("no epsilon", [*CENTRED, *VARIANCE[:2], "Sqrt v -> r", "d Div r -> n", *AFFINE], {}, "A constant epsilon"),
    ("no scale", [*WHOLE[:-2], "n Add beta -> y"], {}, "must scale the result"),
    ("computed scale", [*WHOLE[:-2], "n Mul x -> y"], {}, "must be constant"),
    ("scale by row", [*WHOLE[:-2], "n Mul rows -> y"], {}, "shape of the last axes, [6]"),
    ("scale of a number", [*WHOLE[:-2], "n Mul half -> y"], {}, "shape of the last axes, [6]"),
    ("read elsewhere", WHOLE, {"outputs": ("y", "d")}, "Other nodes"),
    ("axes computed", [line.replace("q last", "q a") for line in WHOLE], {"a": np.array([2], np.int64)}, "must be constant"),
    ("cast in the middle", [*WHOLE[:-2], "Cast:float64 n -> z", "z Mul x -> y"], {"x64": True}, "cast to DOUBLE"),
]


@pytest.mark.parametrize(("lines", "options", "reason"), [c[1:] for c in DECLINED], ids=[c[0] for c in DECLINED])
def test_declines_with_a_reason(lines: list[str], options: dict[str, Any], reason: str) -> None:
    inputs: dict[str, Array] = {"x": array(2, 5, 6)}
    if options.pop("x64", False):
        lines = [*lines[:-1], "Cast:float64 x -> w", "z Mul w -> y"]
    model, fusion = norm(lines, **options), FuseLayerNorm()
    if "a" in options:
        model.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 1
    assert "LayerNormalization" not in operators_after(fusion, model)
    assert reasons(fusion) == [reasons(fusion)[0]]
    assert reason in reasons(fusion)[0]
    assert_agrees_unfused(model, inputs | ({"a": options["a"]} if "a" in options else {}))


OTHERS: list[tuple[str, list[str]]] = [
    ("to the fourth", [line.replace("d Pow two", "d Pow three") for line in WHOLE]),
    ("another value is divided", [line.replace("d Div r", "x Div r") for line in WHOLE]),
    ("another value is squared", [line.replace("d Pow two", "x Pow two") for line in WHOLE]),
    ("multiplied by the root", [line.replace("d Div r", "d Mul r") for line in WHOLE]),
    ("the mean of another value", ["Sigmoid x -> z", "ReduceMean z last -> m", *WHOLE[1:]]),
]


@pytest.mark.parametrize("lines", [c[1] for c in OTHERS], ids=[c[0] for c in OTHERS])
def test_similar_formulas_are_not_candidates(lines: list[str]) -> None:
    model = formula(lines, array(2, 5, 6), {**CONSTANTS, "three": 4.0})
    fusion = FuseLayerNorm()
    assert "LayerNormalization" not in operators_after(fusion, model)
    assert fusion.declined == []
    assert_agrees_unfused(model, {"x": array(2, 5, 6)})

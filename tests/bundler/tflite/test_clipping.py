"""Ranges for int8: narrowed to where the values are, and not widened by masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from onnx import helper

from bundler.tflite.clipping import BEYOND_SCORES, FUNCTIONS, MASK, best_range, clip, functions_of, is_real
from bundler.tflite.flatbuffer import builtin_name
from bundler.tflite.health import unhealthy
from bundler.tflite.placement import float_layers
from bundler.tflite.quantize import quantize
from tests.bundler.converters.native.oracle import array, model_of
from tests.bundler.tflite.calibrated import calibrated
from tests.bundler.tflite.lowered import Lowered
from tests.bundler.tflite.masked import MASKS, Masked, Quantizable, calls

RNG = np.random.default_rng(0)


def largest_scale(file: bytes) -> float:
    details = Interpreter(model_content=file).get_tensor_details()
    return max(float(np.max(tensor["quantization_parameters"]["scales"], initial=0)) for tensor in details)


def test_far_values_narrow_the_range_to_the_others() -> None:
    values = RNG.standard_normal(100_000).astype(np.float32)
    low, high, has_mask = best_range(np.append(values, np.float32(400)))
    assert not has_mask
    assert values.min() <= low < -3
    assert 3 < high < 380


def test_even_values_keep_their_range_and_the_range_includes_zero() -> None:
    values = RNG.uniform(2, 5, 100_000).astype(np.float32)
    assert best_range(values) == (0.0, pytest.approx(5, abs=1e-3), False)
    assert best_range(-values) == (pytest.approx(-5, abs=1e-3), 0.0, False)


def test_negative_values_that_an_activation_function_ends_need_no_levels() -> None:
    values = (3 * RNG.standard_normal(100_000)).astype(np.float32)
    low, high, _ = best_range(values)
    for name in ("HARD_SWISH", "GELU", "RELU"):
        ends = best_range(values, FUNCTIONS[name])
        assert ends[0] > 0.6 * low, name
        assert ends[1] > 0.9 * high, name
    saturating = best_range(values, FUNCTIONS["TANH"])
    assert -6 < saturating[0] < -2
    assert 2 < saturating[1] < 6


@pytest.mark.slow
def test_the_function_of_a_tensor_is_that_of_its_only_reader(tmp_path: Path) -> None:
    nodes = [
        *(helper.make_node("Conv", [x, "w"], [y], name=y) for x, y in (("x", "a"), ("swish", "b"), ("hard", "c"))),
        helper.make_node("Sigmoid", ["a"], ["gate"]), helper.make_node("Mul", ["a", "gate"], ["swish"]),
        helper.make_node("HardSwish", ["b"], ["hard"]),
        helper.make_node("Tanh", ["c"], ["tanh"]), helper.make_node("Add", ["c", "tanh"], ["y"]),
    ]  # fmt: skip
    inputs = {"x": array(1, 4, 6, 6)}
    graph_of = model_of(nodes, inputs, ["y"], {"w": array(4, 4, 1, 1)}, dynamic={"x": [1, 4, 6, 6]}, opset=14)
    file = Lowered(graph_of, inputs, tmp_path).path.read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file, 0))
    graph = model.subgraphs[0]
    functions = functions_of(model, graph)
    producers = [builtin_name(model, operator) for operator in graph.operators if operator.outputs[0] in functions]
    assert producers == ["CONV_2D", "CONV_2D"], "those before the swishes; the third is read by a sum, too"
    x = np.float32([-2, -0.5, 0, 1, 3])
    swish, hard_swish = (functions[index](x) for index in sorted(functions))
    np.testing.assert_allclose(swish, x / (1 + np.exp(-x)), atol=1e-6)
    np.testing.assert_allclose(hard_swish, x * np.clip(x / 6 + 0.5, 0, 1), atol=1e-6)


def test_few_values_keep_their_range() -> None:
    assert best_range(np.array([0.1, 0.2, -0.1, 90], np.float32)) == (pytest.approx(-0.1), 90, False)


@pytest.mark.parametrize("mask", [-np.inf, np.finfo(np.float32).min, -1e9, -1e4, np.inf, 65504.0])
def test_masked_values_end_the_range_a_little_beyond_the_others(mask: float) -> None:
    scores = RNG.uniform(-3, 2, 5_000).astype(np.float32)
    values = np.append(scores, np.full(5_000, mask, np.float32))
    low, high, has_mask = best_range(values, may_be_masked=True)
    assert has_mask
    wanted = (scores.min() - BEYOND_SCORES, scores.max()) if mask < 0 else (scores.min(), scores.max() + BEYOND_SCORES)
    assert (low, high) == pytest.approx(wanted, abs=1e-5)
    assert is_real(values).sum() == scores.size
    alone = np.array([0, mask, mask], np.float32)
    assert best_range(alone, may_be_masked=True) == ((-MASK, 0.0, True) if mask < 0 else (0.0, MASK, True))


def test_columns_of_different_units_are_no_masks() -> None:
    ages_and_incomes = np.array([20, 30, 80, 40_000, 90_000], np.float32)
    assert best_range(ages_and_incomes) == (0.0, 90_000.0, False)


@pytest.mark.parametrize(
    "values", [[], [0.0], [5e3], [-1e9, -1e9], [1.0, 10.0, 100.0, 1000.0, 9000.0]], ids=str
)
def test_values_without_a_gap_are_no_masks(values: list[float]) -> None:
    assert is_real(np.array(values, np.float32)).all()


@pytest.mark.parametrize(
    "mask", [MASKS[0], *(pytest.param(mask, marks=pytest.mark.slow) for mask in MASKS[1:])], ids=lambda mask: mask.__name__
)
def test_masked_attention_is_alive_in_int8(tmp_path: Path, mask: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    model = Quantizable.of(Masked(mask), tmp_path)
    files = {"int8": quantize(model.clipped.file, float_layers(model.clipped.file, model.clipped.masked))}
    files["int8-full"] = quantize(model.clipped.file)
    for variant, file in files.items():
        assert largest_scale(file) < 1, variant
        assert unhealthy(model.clipped, file, calls()) == {}, variant
    ratios = [model.sqnr_db(file, tmp_path) for file in files.values()]
    assert ratios[0] > 20 and ratios[1] > 15, ratios


class Unused(torch.nn.Module):
    """Convolves an input that is zero in every calibration call."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(3, 8, 3, bias=False)

    def forward(self, x: torch.Tensor, zeros: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.first(x), self.second(zeros)


@pytest.mark.slow
def test_a_tensor_of_zeros_has_a_range_that_xnnpack_can_prepare(tmp_path: Path) -> None:
    samples = [
        {"x": np.random.default_rng(seed).standard_normal((1, 3, 8, 8), np.float32), "zeros": np.zeros((1, 3, 8, 8), np.float32)}
        for seed in range(4)
    ]
    clipped = clip(calibrated(Unused(), samples, tmp_path), {"serving_default": samples})
    details = Interpreter(model_content=quantize(clipped.file)).get_tensor_details()
    scales = [tensor["quantization"][0] for tensor in details if len(tensor["shape"]) == 4 and tensor["quantization"][0]]
    assert len(scales) > 2 and min(scales) > 1e-3

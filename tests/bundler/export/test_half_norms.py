"""BatchNorm of half precision keeps PyTorch's rounding: its factors are not rounded into the weights before it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from bundler.converters import load_converter
from bundler.validation import parity
from tests.bundler.exporting import export_module

HALVES = (torch.float16, torch.bfloat16)


def pooled(layers: int = 4, *, affine: bool = True) -> nn.Sequential:
    """Convolutions with a BatchNorm each, and a pooling that averages the rounding of the data out, not that of weights."""
    torch.manual_seed(0)
    blocks: list[nn.Module] = []
    for layer in range(layers):
        norm = nn.BatchNorm2d(32, affine=affine)
        norm.running_mean, norm.running_var = torch.randn(32) * 0.1, torch.rand(32) * 0.3 + 0.1
        blocks += [nn.Conv2d(32 if layer else 3, 32, 3, padding=1), norm, nn.ReLU()]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


@pytest.mark.sample(2)
@pytest.mark.parametrize("affine", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["affine", "plain"])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_outputs_are_as_near_to_float32_as_those_of_pytorch(dtype: torch.dtype, affine: bool, tmp_path: Path) -> None:
    module = pooled(affine=affine).to(dtype)
    exported = export_module(module, tmp_path, {"input": torch.randn(2, 3, 24, 24).to(dtype)})
    model = load_converter("native").convert({"serving_default": exported[0].onnx})
    (reference,) = parity.run_references(exported)
    for case in reference.cases:
        exact = exported[0].reference.in_float32(case.inputs)["output"]  # type: ignore[attr-defined]
        got = model.run("serving_default", case.inputs)["output"].numpy()
        assert (got.dtype, got.shape) == (case.outputs["output"].dtype, case.outputs["output"].shape)
        ours, pytorch = (np.linalg.norm(a.astype(np.float64) - exact) for a in (got, case.outputs["output"]))
        assert 0 < ours <= 1.5 * pytorch


@pytest.mark.sample(2)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_norm_stays_apart_from_the_convolution(dtype: torch.dtype, tmp_path: Path) -> None:
    (exported,) = export_module(pooled(1).to(dtype), tmp_path, {"input": torch.randn(2, 3, 8, 8).to(dtype)})
    graph = onnx.load(exported.onnx).graph
    assert [node.op_type for node in graph.node][:5] == ["Conv", "Cast", "BatchNormalization", "Cast", "Relu"]


def test_a_float32_norm_is_folded_into_the_convolution(tmp_path: Path) -> None:
    (exported,) = export_module(pooled(1), tmp_path, {"input": torch.randn(2, 3, 8, 8)})
    assert [node.op_type for node in onnx.load(exported.onnx).graph.node][:2] == ["Conv", "Relu"]

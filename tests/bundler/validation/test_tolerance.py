"""The tolerance fits the dtype of the computation; the user's own value wins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bundler.validation import parity
from bundler.validation.tolerance import LIMIT, Tolerance, choose_tolerance
from bundler.values.reference import ReferenceOutputs
from tests.bundler.exporting import export_module


class Deep(nn.Module):
    """Rounds many times: each layer adds a little to what came before."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(layers))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            input = input + torch.tanh(layer(input))
        return input


class Cancels(nn.Module):
    """Subtracts two numbers that half precision cannot tell apart."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return (input * 1e-4 + 1) - 1


def references(module: nn.Module, dtype: torch.dtype, folder: Path) -> tuple[ReferenceOutputs, ...]:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    x = torch.randn(2, 16).to(dtype)
    return parity.run_references(export_module(module.eval().to(dtype), folder, {"input": x}))


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("dtype", "value", "basis"),
    [
        (torch.float64, 1e-7, "float64"),
        (torch.float32, 1e-4, "float32"),
        (torch.float16, 4 * 2**-10, "float16: 4 steps of 2^-10; PyTorch's float16 outputs differ from its float32 outputs by "),
        (torch.bfloat16, 4 * 2**-7, "bfloat16: 4 steps of 2^-7; PyTorch's bfloat16 outputs differ from its float32 outputs by "),
    ],
    ids=str,
)
def test_a_shallow_model_gets_the_tolerance_of_its_dtype(dtype: torch.dtype, value: float, basis: str, tmp_path: Path) -> None:
    chosen = choose_tolerance(None, references(nn.Linear(16, 4), dtype, tmp_path))
    assert chosen.value == value
    assert chosen.basis.startswith(basis)
    assert chosen.margin == (value if dtype.itemsize == 2 else value / 10)


def test_a_deep_half_model_gets_four_times_the_rounding_of_pytorch(tmp_path: Path) -> None:
    made = references(Deep(8), torch.bfloat16, tmp_path)
    chosen = choose_tolerance(None, made)
    runner = made[0].exported.reference
    distances = []
    for case in made[0].cases:
        exact = runner.in_float32(case.inputs)  # type: ignore[attr-defined]
        got = case.outputs["output"].astype(np.float32)
        scale = np.maximum(np.abs(exact["output"]), np.sqrt(np.mean(exact["output"] ** 2)))
        distances.append(np.max(np.abs(got - exact["output"]) / scale))
    assert chosen.rounding == pytest.approx(max(distances), rel=1e-5)
    assert chosen.value == pytest.approx(4 * max(distances), rel=1e-5)
    assert 4 * 2**-7 < chosen.value < LIMIT
    assert chosen.basis.startswith("bfloat16: 4 times its rounding")


def test_a_model_that_half_precision_cannot_compute_gets_the_limit(tmp_path: Path) -> None:
    chosen = choose_tolerance(None, references(Cancels(), torch.bfloat16, tmp_path))
    assert chosen.value == LIMIT
    assert chosen.rounding is not None and chosen.rounding > LIMIT


def test_the_tolerance_of_the_user_wins(tmp_path: Path) -> None:
    made = references(nn.Linear(16, 4), torch.float16, tmp_path)
    assert choose_tolerance(0.5, made) == Tolerance(0.5, "as requested", "float16")
    assert choose_tolerance(1e-7, made).margin == 1e-7

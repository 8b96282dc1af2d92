"""A half-precision module computes in float32 for a block, and is unchanged afterwards."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from bundler.export.in_float32 import NotInFloat32Error, in_float32

HALVES = [torch.float16, torch.bfloat16]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 6, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(x)
        return states


class CastsInside(nn.Module):
    """Names a half-precision dtype in its own code."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).to(torch.float16) * torch.full((3,), 0.1, dtype=torch.bfloat16)


class Autocast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.layers(x)


class WritesBits(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(torch.int16) * 2


def convolutional() -> nn.Module:
    module = nn.Sequential(nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6), nn.PReLU(), nn.ConvTranspose2d(6, 2, 2, 2), nn.GroupNorm(1, 2))
    nn.init.normal_(module[1].running_mean)
    return module


@pytest.mark.compat
@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("build", [convolutional, Recurrent])
def test_a_module_answers_as_its_float32_copy(build: type[nn.Module], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = build().eval().to(dtype)
    x = torch.randn(2, 4, 4, 4)[:, 0] if build is Recurrent else torch.randn(2, 4, 4, 4)
    x = x.to(dtype)
    with torch.no_grad():
        expected = copy.deepcopy(module).float()(x.float())
        before = module(x)
        with in_float32(module):
            got = module(x.float())
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(module(x), before, rtol=0, atol=0)
    assert {tensor.dtype for tensor in module.parameters()} == {dtype}


def test_casts_of_the_code_and_of_autocast_do_not_round() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4)
    inside, autocast = CastsInside().eval(), Autocast().eval()
    with torch.no_grad():
        with in_float32(inside):
            got = inside(x)
        torch.testing.assert_close(got, inside.layer(x) * 0.1, rtol=1e-5, atol=1e-6)
        with in_float32(autocast):
            got = autocast(x)
        torch.testing.assert_close(got, autocast.layers(x), rtol=1e-5, atol=1e-6)


def test_a_model_that_reads_bits_cannot_run_in_float32() -> None:
    module = WritesBits()
    with in_float32(module), pytest.raises(NotInFloat32Error, match="reads the bits"):
        module(torch.ones(2, dtype=torch.bfloat16))


class Branches(nn.Module):
    """A branch that torch compiles when it is run."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.mean() > 0, lambda y: y * 3, lambda y: y / 3, (x,))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_control_flow_runs_before_and_after_the_block(dtype: torch.dtype) -> None:
    """torch keeps the compiled code of a branch, which must not be that of the block."""
    module, x = Branches(), torch.tensor([1.0, 2.0, 0.1]).to(dtype)
    for _ in range(2):
        assert torch.equal(module(x), x * 3)
        with in_float32(module):
            assert torch.equal(module(x), x.float() * 3)
    assert torch.equal(module(-x), -x / 3)

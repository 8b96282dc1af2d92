"""A custom PyTorch operator that ONNX does not have; `soft_shrink_ops.py` converts it to TensorFlow.

    tfbundle build examples/soft_shrink.py:soft_shrink --ops examples/soft_shrink_ops.py -o dist/denoiser
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.library.custom_op("mylib::soft_shrink", mutates_args=())
def shrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """Return x (float, any shape) moved towards 0 by lambd, or 0 where it would cross 0."""
    return x.sign() * (x.abs() - lambd).clamp(min=0)


@shrink.register_fake
def _(x: Tensor, lambd: float = 0.5) -> Tensor:
    return torch.empty_like(x)


class Denoiser(nn.Module):
    """Removes small coefficients from signals, float32 [batch, 1, length]; the output has the shape of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.analysis = nn.Conv1d(1, 8, 9, padding=4)
        self.synthesis = nn.Conv1d(8, 1, 9, padding=4)

    def forward(self, signal: Tensor) -> Tensor:
        coefficients = self.analysis(signal)
        return self.synthesis(shrink(coefficients, 0.1))


def soft_shrink() -> tuple[nn.Module, dict[str, Tensor]]:
    """Return the network with random weights, and two example signals."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Denoiser(), {"signal": torch.randn(2, 1, 64)}

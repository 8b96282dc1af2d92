"""A PyTorch module of any size, as a source: `tfbundle build benchmarks/support/large.py:perceptron`."""

from __future__ import annotations

import os

import torch
from torch import nn


def perceptron() -> nn.Module:
    """Return TFBUNDLE_BENCH_LAYERS linear layers of the width TFBUNDLE_BENCH_WIDTH, with a ReLU after each."""
    width = int(os.environ["TFBUNDLE_BENCH_WIDTH"])
    generator = torch.Generator().manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(int(os.environ["TFBUNDLE_BENCH_LAYERS"])):
        linear: nn.Linear = nn.utils.skip_init(nn.Linear, width, width)  # type: ignore[assignment]
        with torch.no_grad():
            linear.weight.normal_(0, width**-0.5, generator=generator)
            linear.bias.normal_(generator=generator)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers)

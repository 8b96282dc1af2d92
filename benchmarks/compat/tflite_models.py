"""Small models of each kind that a mobile export has, for runs on other TFLite runtimes: `tflite_exports` builds them.

A build takes a name of this file (`benchmarks/compat/tflite_models.py:encoder`), and `NAME_samples` for calibration.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

COUNT = 32
Made = tuple[nn.Module, dict[str, Tensor]]


class _Encoder(nn.Module):
    """An encoder of tokens with a mask, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu")
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 5)

    def forward(self, ids: Tensor) -> Tensor:
        tokens = self.layers(self.embedding(ids))
        logits: Tensor = self.head(tokens.mean(1))
        return logits


class _Mobile(nn.Module):
    """Depthwise-separable convolutions with HardSwish, squeeze and excitation, and upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.Hardswish())
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 8, 1), nn.ReLU(), nn.Conv2d(8, 16, 1), nn.Sigmoid())
        self.deep = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.SiLU(), nn.Conv2d(16, 24, 1))
        self.up = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(24, 4, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        features = self.stem(image)
        mask: Tensor = self.up(self.deep(features * self.squeeze(features)))
        return mask


class _Recurrent(nn.Module):
    """An LSTM and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 16, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, steps: Tensor) -> Tensor:
        scores: Tensor = self.head(self.lstm(steps)[0][:, -1])
        return scores


class _Ratio(nn.Module):
    """Two dense layers and a quotient."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        quotient: Tensor = self.second(torch.relu(self.first(x))) / (x.abs() + 1)
        return quotient


def _made(kind: type[nn.Module], **inputs: Tensor) -> Made:
    torch.manual_seed(0)
    return kind().eval(), inputs


def _samples(seed: int = 0, **shapes: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    for _ in range(COUNT):
        yield {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def encoder() -> Made:
    """Return the encoder with an example."""
    return _made(_Encoder, ids=torch.arange(12).reshape(1, 12))


def encoder_samples() -> Iterator[dict[str, Any]]:
    """Yield calls of the encoder."""
    rng = np.random.default_rng(0)
    for _ in range(COUNT):
        yield {"ids": rng.integers(0, 50, (1, 12))}


def mobile() -> Made:
    """Return the convolutional model with an example."""
    return _made(_Mobile, image=torch.rand(1, 3, 32, 32))


def mobile_samples() -> Iterator[dict[str, Any]]:
    """Yield calls of the convolutional model."""
    yield from _samples(image=(1, 3, 32, 32))


def recurrent() -> Made:
    """Return the recurrent model with an example."""
    return _made(_Recurrent, steps=torch.rand(1, 6, 8))


def recurrent_samples() -> Iterator[dict[str, Any]]:
    """Yield calls of the recurrent model."""
    yield from _samples(steps=(1, 6, 8))


def ratio() -> Made:
    """Return the dense model with an example."""
    return _made(_Ratio, x=torch.rand(1, 32))


def ratio_samples() -> Iterator[dict[str, Any]]:
    """Yield calls of the dense model."""
    yield from _samples(x=(1, 32))

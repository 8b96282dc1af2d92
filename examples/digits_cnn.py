"""A small convolutional network for scikit-learn's 8x8 images of digits (`sklearn.datasets.load_digits`).

    tfbundle build examples/digits_cnn.py:digits_cnn -o dist/digits --tflite float16

The file is self-contained, so that it can be copied. `tfbundle demo` trains the same network (bundler/demo/digits.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DigitsCnn(nn.Module):
    """Maps grey images, float32 [batch, 1, 8, 8] in 0..1, to logits, float32 [batch, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Linear(64 * 2 * 2, 10)

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(image).flatten(1))


def digits_cnn() -> tuple[nn.Module, dict[str, Tensor]]:
    """Return the network with random weights, and two example images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DigitsCnn()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
        return model, {"image": torch.rand(2, 1, 8, 8)}

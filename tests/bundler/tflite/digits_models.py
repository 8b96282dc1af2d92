"""Networks trained on real digits: a deeper one, and the demo's with weights that int8 cannot represent."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from bundler.demo import digits as demo

LARGE = 32
OUTLIER = 2000.0


class Deeper(nn.Module):
    """Maps grey images, float32 [batch, 1, 32, 32] in 0..1, to logits, float32 [batch, 10].

    It has depthwise-separable blocks with BatchNorm and HardSwish, as in MobileNetV3.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
        self.blocks = nn.Sequential(*(self._block(*sizes) for sizes in ((16, 24, 2), (24, 32, 1), (32, 48, 2), (48, 48, 1))))
        self.classifier = nn.Linear(48, 10)

    @staticmethod
    def _block(inner: int, outer: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False), nn.BatchNorm2d(inner), nn.Hardswish(),
            nn.Conv2d(inner, outer, 1, bias=False), nn.BatchNorm2d(outer), nn.Hardswish(),
        )  # fmt: skip

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"logits": self.classifier(self.blocks(self.stem(image)).mean((2, 3)))}


def enlarged(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    large = functional.interpolate(torch.from_numpy(images), size=(LARGE, LARGE), mode="bilinear")
    return large.numpy()


@cache
def deeper(epochs: int = 8) -> nn.Module:
    """Return a network trained on digits enlarged to 32x32, in eval mode. Training takes a few seconds."""
    data = demo.digits()
    images, labels = torch.from_numpy(enlarged(data.train_images)), torch.from_numpy(data.train_labels)
    order = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Deeper()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=epochs * (len(labels) // 64 + 1))
    model.train()
    with demo.one_thread():
        for _ in range(epochs):
            for rows in torch.randperm(len(labels), generator=order).split(64):
                optimizer.zero_grad()
                functional.cross_entropy(model(images[rows])["logits"], labels[rows]).backward()
                optimizer.step()
                schedule.step()
    return model.eval()


@cache
def with_outlier() -> nn.Module:
    """Return the demo's network with one channel enlarged two thousand times, and divided again by the next layer.

    In float the outputs are unchanged. int8 has one scale for all channels of a tensor, so the other channels are rounded away.
    """
    model, _ = demo.train()
    with torch.no_grad():
        norm, after = model.features[1], model.features[3]
        norm.weight[3] *= OUTLIER
        norm.bias[3] *= OUTLIER
        after.weight[:, 3] /= OUTLIER
    return model


def accuracy_large(predict) -> float:  # type: ignore[no-untyped-def]
    data = demo.digits()
    return float(np.mean(predict(image=enlarged(data.test_images))["logits"].argmax(1) == data.test_labels))


def calibration_large():  # type: ignore[no-untyped-def]
    yield from enlarged(demo.digits().train_images[:200])

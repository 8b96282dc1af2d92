"""Depthwise convolutions with large kernels, mixers and other token-mixing blocks, and hybrids of convolution and attention."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.convolutional import classifier
from tests.zoo.entry import Built, Entry, image


def entry(name: str, size: int = 64, *, settings: dict[str, Any] | None = None, **facts: Any) -> Entry:
    return Entry(name, "large kernels and mixers", partial(classifier, name, size, **(settings or {})), **facts)


class RepLk(nn.Module):
    """A block of RepLKNet: parallel 31x31 and 5x5 depthwise convolutions, then a feed-forward of 1x1 convolutions."""

    def __init__(self, channels: int, kernel: int = 31) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.enter = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
        self.large = nn.Sequential(
            nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False), nn.BatchNorm2d(channels)
        )
        self.small = nn.Sequential(
            nn.Conv2d(channels, channels, 5, padding=2, groups=channels, bias=False), nn.BatchNorm2d(channels)
        )
        self.leave = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
        self.feed = nn.Sequential(
            nn.BatchNorm2d(channels), nn.Conv2d(channels, 4 * channels, 1), nn.GELU(), nn.Conv2d(4 * channels, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.enter(self.norm(x))
        x = x + self.leave(torch.relu(self.large(y) + self.small(y)))
        return x + self.feed(x)


class Van(nn.Module):
    """The large-kernel attention of VAN: 5x5, then 7x7 dilated by 3, depthwise, as a gate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.BatchNorm2d(channels), nn.Conv2d(channels, channels, 1), nn.GELU())
        self.near = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.far = nn.Conv2d(channels, channels, 7, padding=9, groups=channels, dilation=3)
        self.point = nn.Conv2d(channels, channels, 1)
        self.leave = nn.Conv2d(channels, channels, 1)
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.enter(x)
        return x + self.scale * self.leave(y * self.point(self.far(self.near(y))))


def trunk(block: type[nn.Module], channels: int = 24) -> Built:
    """Build a stem, two blocks with a stride in between, and a classifier."""
    module = nn.Sequential(
        nn.Conv2d(3, channels, 4, 4), block(channels), nn.MaxPool2d(2), block(channels),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10),
    )  # fmt: skip
    return module, {"input": image()}, {}


ENTRIES = (
    entry("convnextv2_atto", settings={"depths": (1, 1, 1, 1), "dims": (16, 32, 64, 128)}, saved=True, transposes=1),
    Entry("replknet", "large kernels and mixers", partial(trunk, RepLk), transposes=1, nhwc=True),
    Entry("van", "large kernels and mixers", partial(trunk, Van), transposes=1, nhwc=True),
    entry("mixer_s32_224", settings={"img_size": 64}, saved=True),
    entry("poolformer_s12", transposes=1),
    entry("caformer_s18"),
    entry("efficientformer_l1", 224, settings={"depths": (1, 1, 1, 2), "embed_dims": (16, 24, 48, 96)}),
    entry("edgenext_xx_small"),
    entry("fastvit_t8"),
    entry("mobilevit_xxs"),
    entry("mambaout_femto", settings={"depths": (1, 1, 1, 1), "dims": (16, 32, 48, 64)}),
    entry("sequencer2d_s", settings={"layers": (1, 1, 1, 1), "img_size": 64}),
)

"""Convolutions over time and over volumes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.zoo.entry import Built, Entry

FAMILY = "1-D and 3-D convolutions"


class Wavenet(nn.Module):
    """Dilated causal convolutions with gated units, residual and skip connections, over mu-law samples."""

    def __init__(self, classes: int = 32, width: int = 16, layers: int = 4) -> None:
        super().__init__()
        self.enter = nn.Conv1d(1, width, 1)
        self.gates = nn.ModuleList(nn.Conv1d(width, 2 * width, 2, dilation=2**i) for i in range(layers))
        self.residuals = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(layers))
        self.skips = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(layers))
        self.leave = nn.Sequential(nn.ReLU(), nn.Conv1d(width, width, 1), nn.ReLU(), nn.Conv1d(width, classes, 1))

    def forward(self, audio: Tensor) -> Tensor:
        x = self.enter(audio)
        total = torch.zeros_like(x)
        for gate, residual, skip in zip(self.gates, self.residuals, self.skips, strict=True):
            content, opening = gate(functional.pad(x, (gate.dilation[0], 0))).chunk(2, 1)
            y = content.tanh() * opening.sigmoid()
            total = total + skip(y)
            x = x + residual(y)
        return self.leave(total)


class UNet1d(nn.Module):
    """A U-Net over time: strided convolutions down, transposed convolutions up, and a skip connection at each level."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.downs = nn.ModuleList([_down(2, width), _down(width, 2 * width), _down(2 * width, 4 * width)])
        self.ups = nn.ModuleList([_up(4 * width, 2 * width), _up(4 * width, width), _up(2 * width, width)])
        self.leave = nn.Conv1d(width + 2, 2, 5, padding=2)

    def forward(self, audio: Tensor) -> Tensor:
        levels = [audio]
        for down in self.downs:
            levels.append(down(levels[-1]))
        x = levels.pop()
        for up in self.ups:
            x = torch.cat([up(x), levels.pop()], 1)
        return self.leave(x)


def _down(enter: int, leave: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(enter, leave, 5, 2, 2), nn.BatchNorm1d(leave), nn.LeakyReLU(0.2))


def _up(enter: int, leave: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose1d(enter, leave, 4, 2, 1), nn.BatchNorm1d(leave), nn.ReLU())


class SeparableKeywords(nn.Module):
    """Keyword spotting, similar to QuartzNet: depthwise separable convolutions over time, max and average pooling."""

    def __init__(self, bands: int = 20, width: int = 32, classes: int = 6) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv1d(bands, width, 11, 2, 5), nn.BatchNorm1d(width), nn.ReLU()]
        for _ in range(2):
            layers += [
                nn.Conv1d(width, width, 9, padding=4, groups=width), nn.Conv1d(width, width, 1), nn.BatchNorm1d(width),
                nn.Hardswish(), nn.MaxPool1d(3, 2, 1),
            ]  # fmt: skip
        self.layers = nn.Sequential(*layers)
        self.leave = nn.Linear(2 * width, classes)

    def forward(self, bands: Tensor) -> Tensor:
        x = self.layers(bands)
        return self.leave(torch.cat([x.mean(2), x.amax(2)], 1))


class Residual3d(nn.Module):
    """R(2+1)D: separate convolutions over space and time, in residual blocks."""

    def __init__(self, width: int = 12, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(3, width, (3, 5, 5), (1, 2, 2), (1, 2, 2)), nn.BatchNorm3d(width), nn.ReLU())
        self.pool = nn.MaxPool3d(3, 2, 1)
        self.first = _space_time(width, width, 1)
        self.second = _space_time(width, 2 * width, 2)
        self.short = nn.Sequential(nn.Conv3d(width, 2 * width, 1, 2), nn.BatchNorm3d(2 * width))
        self.leave = nn.Linear(2 * width, classes)

    def forward(self, video: Tensor) -> Tensor:
        x = self.pool(self.stem(video))
        x = torch.relu(x + self.first(x))
        x = torch.relu(self.short(x) + self.second(x))
        return self.leave(functional.adaptive_avg_pool3d(x, 1).flatten(1))


def _space_time(enter: int, leave: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(enter, leave, (1, 3, 3), (1, stride, stride), (0, 1, 1)), nn.BatchNorm3d(leave), nn.ReLU(),
        nn.Conv3d(leave, leave, (3, 1, 1), (stride, 1, 1), (1, 0, 0)), nn.BatchNorm3d(leave),
    )  # fmt: skip


class Volumes(nn.Module):
    """A V-Net for scans: 3-D convolutions, group normalization, trilinear upsampling, a mask of the input's size."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv3d(1, width, 3, padding=1), nn.GroupNorm(2, width), nn.ReLU())
        self.down = nn.Sequential(nn.Conv3d(width, 2 * width, 3, 2, 1), nn.GroupNorm(4, 2 * width), nn.ReLU())
        self.up = nn.ConvTranspose3d(2 * width, width, 2, 2)
        self.leave = nn.Conv3d(2 * width, 2, 1)

    def forward(self, scan: Tensor) -> Tensor:
        x = self.enter(scan)
        return self.leave(torch.cat([self.up(self.down(x)), x], 1)).softmax(1)


def wavenet() -> Built:
    return Wavenet(), {"audio": torch.randn(2, 1, 64)}, {"audio": {2: "time"}}


def u_net_1d() -> Built:
    return UNet1d(), {"audio": torch.randn(2, 2, 64)}, {}


def keywords() -> Built:
    return SeparableKeywords(), {"bands": torch.randn(2, 20, 40)}, {"bands": {2: "time"}}


def r2plus1d() -> Built:
    return Residual3d(), {"video": torch.randn(2, 3, 8, 24, 24)}, {}


def v_net() -> Built:
    return Volumes(), {"scan": torch.randn(2, 1, 12, 16, 16)}, {}


ENTRIES = (
    Entry("wavenet", FAMILY, wavenet, saved=True, transposes=2),
    Entry("u_net_1d", FAMILY, u_net_1d, fast=True, transposes=2),
    Entry("keyword_spotting", FAMILY, keywords, transposes=1),
    Entry("r2plus1d", FAMILY, r2plus1d, saved=True, transposes=1),
    Entry("v_net", FAMILY, v_net, transposes=2),
)

"""A small U-Net for RGB images of 128x128 pixels, with a transposed convolution and a bilinear upsampling.

    tfbundle build examples/unet.py:unet -o dist/unet --tflite float16
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
        nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


class UNet(nn.Module):
    """Maps RGB images, float32 [batch, 3, 128, 128], to class logits, float32 [batch, 2, 128, 128]."""

    def __init__(self, width: int = 16, classes: int = 2) -> None:
        super().__init__()
        self.encode1 = _block(3, width)
        self.encode2 = _block(width, 2 * width)
        self.middle = _block(2 * width, 4 * width)
        self.pool = nn.MaxPool2d(2)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.decode2 = _block(4 * width, 2 * width)
        self.up1 = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), nn.Conv2d(2 * width, width, 1)
        )
        self.decode1 = _block(2 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        skip1 = self.encode1(image)
        skip2 = self.encode2(self.pool(skip1))
        x = self.middle(self.pool(skip2))
        x = self.decode2(torch.cat([self.up2(x), skip2], dim=1))
        x = self.decode1(torch.cat([self.up1(x), skip1], dim=1))
        return self.head(x)


def unet() -> tuple[nn.Module, dict[str, Tensor]]:
    """Return the network with random weights, and two example images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = UNet()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
        return model, {"image": torch.rand(2, 3, 128, 128)}

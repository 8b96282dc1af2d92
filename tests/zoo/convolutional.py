"""Small convolutional classifiers of timm."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.zoo.entry import Built, Entry, image


def classifier(name: str, size: int = 64, **settings: Any) -> Built:
    """Build a model of timm for `size` x `size` images and 10 classes."""
    import timm

    return timm.create_model(name, pretrained=False, num_classes=10, **settings), {"x": image(size)}, {}


def entry(name: str, size: int = 64, *, settings: dict[str, Any] | None = None, **facts: Any) -> Entry:
    return Entry(name, "convolutional", partial(classifier, name, size, **(settings or {})), **facts)


ENTRIES = (
    entry("resnet18", settings={"layers": (1, 1, 1, 1), "channels": (16, 32, 64, 128)}, fast=True, saved=True,
          transposes=1, nhwc=True),
    entry("resnext50_32x4d", settings={"layers": (1, 1, 1, 1)}, transposes=1),
    entry("densenet121", settings={"growth_rate": 8, "block_config": (2, 2, 2)}, transposes=1),
    entry("regnety_002", transposes=1),
    entry("tf_efficientnetv2_b0", settings={"channel_multiplier": 0.25, "depth_multiplier": 0.3}, saved=True,
          transposes=1, nhwc=True),
    entry("efficientnet_b0", transposes=1, nhwc=True),
    entry("mobilenetv3_small_050", saved=True, transposes=1, nhwc=True),
    entry("mobilenetv4_conv_small_035", transposes=1, nhwc=True),
    entry("ghostnet_050", transposes=1),
    entry("repvgg_a0", transposes=1),
    entry("hrnet_w18_small", transposes=1),
    entry("res2net50_14w_8s", settings={"layers": (1, 1, 1, 1)}, transposes=1),
    entry("skresnet18", settings={"layers": (1, 1, 1, 1)}, transposes=1),
    entry("resnest14d", transposes=1),
    entry("convnext_atto", settings={"depths": (1, 1, 1, 1), "dims": (16, 32, 64, 128)}, transposes=1, nhwc=True),
)  # fmt: skip

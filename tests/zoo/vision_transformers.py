"""Transformers for image patches: plain, hierarchical and windowed ones of timm."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.zoo.convolutional import classifier
from tests.zoo.entry import Entry

PLAIN = {"img_size": 64, "embed_dim": 64, "depth": 2, "num_heads": 4}


def entry(name: str, settings: dict[str, Any], size: int = 64, **facts: Any) -> Entry:
    return Entry(name, "vision transformers", partial(classifier, name, size, **settings), **facts)


ENTRIES = (
    entry("vit_tiny_patch16_224", PLAIN, saved=True),
    entry("deit_tiny_distilled_patch16_224", PLAIN),
    entry("cait_xxs24_224", PLAIN),
    entry("beit_base_patch16_224", PLAIN),
    entry("eva02_tiny_patch14_224", {**PLAIN, "img_size": 56}, 56),
    entry("xcit_nano_12_p16_224", PLAIN),
    entry("swin_tiny_patch4_window7_224", {"img_size": 56, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4)}, 56,
          saved=True),
    entry("swinv2_tiny_window8_256", {"img_size": 64, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4)}, saved=True),
    entry("maxvit_rmlp_pico_rw_256", {"img_size": 64}),
    entry("twins_svt_small", {"img_size": 64, "embed_dims": (16, 32, 48, 64), "depths": (1, 1, 2, 1)}),
    entry("pvt_v2_b0", {}),
    entry("coat_lite_tiny", {"img_size": 64}),
    entry("mvitv2_tiny", {"img_size": 64}),
    entry("levit_128s", {}, 224),
    entry("volo_d1_224", {"img_size": 64}),
)  # fmt: skip

"""Transformers over image patches: plain, hierarchical, windowed."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.zoo.convolutional import classifier
from tests.zoo.entry import Entry

PLAIN = {"img_size": 64, "embed_dim": 64, "depth": 2, "num_heads": 4}


def entry(name: str, settings: dict[str, Any], size: int = 64, **facts: Any) -> Entry:
    return Entry(name, "vision transformers", partial(classifier, name, size, **settings), **facts)


ENTRIES = (
    entry("vit_tiny_patch16_224", PLAIN, fast=True, saved=True),
    entry("vit_relpos_small_patch16_224", PLAIN),
    entry("deit_tiny_distilled_patch16_224", PLAIN),
    entry("deit3_small_patch16_224", PLAIN),
    entry("cait_xxs24_224", PLAIN),
    entry("beit_base_patch16_224", PLAIN),
    entry("eva02_tiny_patch14_224", {**PLAIN, "img_size": 56}, 56),
    entry("xcit_nano_12_p16_224", PLAIN),
    entry("swin_tiny_patch4_window7_224", {"img_size": 56, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4)}, 56,
          fast=True, saved=True),
    entry("swinv2_tiny_window8_256", {"img_size": 64, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4)}, saved=True),
    entry("maxvit_rmlp_pico_rw_256", {"img_size": 64}),
    entry("coatnet_nano_rw_224", {"img_size": 64}),
    entry("twins_svt_small", {"img_size": 64, "embed_dims": (16, 32, 48, 64), "depths": (1, 1, 2, 1)}),
    entry("pvt_v2_b0", {}),
    entry("coat_lite_tiny", {"img_size": 64}),
    entry("mvitv2_tiny", {"img_size": 64, "depths": (1, 1, 1, 1), "embed_dim": 32}),
    entry("davit_tiny", {"depths": (1, 1, 1, 1), "embed_dims": (24, 48, 96, 192)}),
    entry("gcvit_xxtiny", {"img_size": 224}, 224),
    entry("levit_128s", {}, 224),
    entry("crossvit_tiny_240", {}, 240),
    entry("tnt_s_patch16_224", {**PLAIN, "inner_dim": 16, "num_heads_inner": 2}),
    entry("nest_tiny", {"img_size": 64, "embed_dims": (24, 48, 96), "depths": (1, 1, 1)}),
    entry("volo_d1_224", {"img_size": 64}),
    entry("focalnet_tiny_srf", {"depths": (1, 1, 1, 1), "embed_dim": 24}),
    entry("hiera_tiny_224", {"embed_dim": 24, "stages": (1, 1, 1, 1)}, 224),
    entry("tiny_vit_5m_224", {}, 224),
)  # fmt: skip

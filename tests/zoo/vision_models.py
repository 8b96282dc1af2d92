"""Vision models of transformers: classification, dense prediction, detection."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.zoo.entry import Built, Entry, image

TINY = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 64,
    "patch_size": 16, "num_labels": 5,
}  # fmt: skip
STAGES = {
    "num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [4, 1], "hidden_sizes": [16, 32], "patch_sizes": [7, 3],
    "strides": [4, 2], "num_attention_heads": [2, 4], "mlp_ratios": [2, 2], "decoder_hidden_size": 32, "num_labels": 5,
}  # fmt: skip
DPT = {
    **TINY, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [16, 24, 32, 32],
    "fusion_hidden_size": 16, "is_hybrid": False,
}  # fmt: skip


def vision(model: str, config: str, settings: dict[str, Any]) -> Built:
    """Build a model of transformers by the names of its class and config, for images."""
    import transformers

    module = getattr(transformers, model)(getattr(transformers, config)(**settings))
    return module, {"pixel_values": image()}, {}


def entry(name: str, model: str, config: str, settings: dict[str, Any], **facts: Any) -> Entry:
    return Entry(name, "vision models", partial(vision, model, config, settings), **facts)


ENTRIES = (
    entry("segformer", "SegformerForSemanticSegmentation", "SegformerConfig", STAGES, saved=True),
    entry("dpt", "DPTForDepthEstimation", "DPTConfig", DPT),
    entry("yolos", "YolosForObjectDetection", "YolosConfig", {**TINY, "image_size": [64, 64], "num_detection_tokens": 6}),
    entry("dinov2", "Dinov2ForImageClassification", "Dinov2Config", TINY),
    entry("swin2sr", "Swin2SRForImageSuperResolution", "Swin2SRConfig",
          {"image_size": 32, "embed_dim": 24, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "upscale": 2}),
)  # fmt: skip

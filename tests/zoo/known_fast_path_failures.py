"""Architectures without a model.tflite for servers, each with the reason; one that gets it must be removed from the list."""

from __future__ import annotations

REASONS: dict[str, str] = {
    "gat": "TFLite has no scatter that keeps the maximum",
    "scan": "TFLite has no list of tensors whose length is dynamic",
}

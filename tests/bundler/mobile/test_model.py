"""Variants of a bundle, for the mobile export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bundler.bundle.manifest import Manifest
from bundler.errors import UsageError
from bundler.mobile.model import _accuracy, read_model
from bundler.validation.bundle import Bundle


def test_error_for_a_rejected_variant_has_the_reason(small_bundle: Path) -> None:
    opened = Bundle.open(small_bundle)
    record = {**opened.record("mlp"), "tflite_refused": {"int8": {"reason": "accuracy 0.9, asked for 0.95"}}}
    bundle = Bundle(opened.layout, Manifest(opened.manifest.spec, {"mlp": {1: record}}, opened.manifest.files))
    with pytest.raises(UsageError, match=r"It was rejected: accuracy 0\.9"):
        read_model(bundle, "mlp", None, ("int8",))


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        ({"evaluation": {"value": 0.975, "pytorch": 0.98}}, "0.975 (PyTorch 0.98)"),
        ({"accuracy": {"outputs": {"y": {"sqnr_db": 31.26}, "z": {"top1": 1.0}}}}, "SQNR 31.3 dB"),
        ({"error": [{"max_rel": 1e-6}, {"max_rel": 2e-3}]}, "largest relative error 0.002"),
        ({"error": [{"problem": "shape"}]}, "not known"),
        ({}, "not known"),
    ],
)
def test_the_most_meaningful_accuracy_figure_is_shown(figures: dict[str, Any], text: str) -> None:
    assert _accuracy(figures) == text

"""The report's sections on the accuracy of the variants, on rejected variants, and on the fast path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bundler.bundle.schema import RejectedRecord, VariantRecord
from bundler.render.report.accuracy import accuracy_view
from tests.bundler.render.report.pages import Page, assert_accessible, make_manifest, page_of, with_manifest

METRIC = {"function": "metrics.py:accuracy", "pytorch": 0.98, "drop": 0.005, "floor": 0.97}


def agreement(sqnr: float, top1: float = 1.0) -> dict[str, Any]:
    return {"calls": 20, "outputs": {"logits": {"sqnr_db": sqnr, "cosine": 0.99912, "top1": top1}, "label": {"top1": top1}}}


def judged(**changes: Any) -> dict[str, Any]:
    """Return bundle.json after a build with --evaluate in which float16 passes and int8 is rejected."""
    manifest = make_manifest()
    version = manifest["models"]["digits"]["versions"]["3"]
    int8 = version["tflite"].pop("int8")
    version["tflite"]["mix"] = {
        **int8, "accuracy": agreement(24.5), "evaluation": {**METRIC, "value": 0.975}, "float_layers": ["head", "body.0"],
        "delegation": {"share": 0.96, "nodes": 25, "delegated": 24, "partitions": 1},
    }  # fmt: skip
    version["tflite"]["float16"] |= {"accuracy": agreement(61.25), "evaluation": {**METRIC, "value": 0.98}}
    layers = [{"layer": f"layer.{n}", "operator": "Conv", "tensors": [], "sqnr_db": n} for n in range(7)]
    version["tflite_refused"] = {
        "int8": {
            "reason": "accuracy is 0.9", "below_gate": True, "accuracy": agreement(8.0, 0.9),
            "evaluation": {**METRIC, "value": 0.9}, "layers": layers, "mix": ["layer.0"],
        }
    }  # fmt: skip
    version |= changes
    return manifest


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(page_of(with_manifest(judged()), tmp_path))


def test_metric_and_agreement_are_shown_for_each_variant(page: Page) -> None:
    measured = page.bars("metrics.py:accuracy on labelled data")
    assert measured == ["PyTorch 0.98", "float16 0.98", "mix 0.975", "int8 0.9"]
    assert "The line marks the floor, 0.97." in page.text
    ratios = page.bars("Signal-to-quantization-noise ratio against PyTorch, worst output (more is better)")
    assert ratios == ["float16 61.2 dB", "mix 24.5 dB", "int8 8.0 dB"]
    assert ["float16", "0.98", "61.2 dB", "0.99912", "100.0%", "–", "–"] in page.rows
    assert ["mix", "0.975", "24.5 dB", "0.99912", "100.0%", "96%", "head, body.0"] in page.rows


def test_page_is_keyboard_and_screen_reader_accessible(page: Page) -> None:
    assert_accessible(page)


def test_a_rejected_variant_is_shown_with_its_reason_and_its_worst_layers(page: Page) -> None:
    assert ["int8", "below its gate", "accuracy is 0.9"] in page.rows
    assert "Layers of int8 that lose the most accuracy:" in page.text
    assert "layer.0: 0.0 dB when only this layer is int8" in page.text
    assert "layer.4: " in page.text and "layer.5: " not in page.text
    assert "a mix passes if these layers stay in float: layer.0" in page.text


def test_rejected_variants_are_red_in_the_charts() -> None:
    variant = VariantRecord.model_validate_json(json.dumps(judged()["models"]["digits"]["versions"]["3"]["tflite"]["mix"]))
    rejected = RejectedRecord.model_validate_json(json.dumps({"reason": "r", "accuracy": agreement(-3.0)}))
    view = accuracy_view({"mix": variant}, {"int8": rejected})
    assert view is not None
    metric, sqnr = view.charts
    assert [(bar.label, bar.kind) for bar in metric.bars] == [("PyTorch", "quiet"), ("mix", "good")]
    assert metric.mark == pytest.approx(0.97 / 0.98)
    assert [(bar.label, bar.kind, bar.share, bar.text) for bar in sqnr.bars] == [
        ("mix", "plain", 1.0, "24.5 dB"),
        ("int8", "bad", 0.0, "-3.0 dB"),
    ]


def test_a_layer_that_loses_everything_has_an_infinite_ratio(tmp_path: Path) -> None:
    layers = [{"layer": "head", "sqnr_db": "-inf"}]
    page = Page(page_of(with_manifest(judged(tflite_refused={"int8": {"reason": "r", "layers": layers}})), tmp_path))
    assert "head: -inf dB" in page.text


def test_there_is_no_accuracy_section_without_accuracy_records(tmp_path: Path) -> None:
    page = Page(page_of(with_manifest(make_manifest()), tmp_path))
    assert "Accuracy of the TFLite variants" not in page.text
    assert "Fast path" not in page.text


def test_fast_path_compares_the_files_that_a_server_can_load(tmp_path: Path) -> None:
    fast = {"file": "model.tflite", "size_bytes": 51_200, "latency_ms": {"1": 0.5, "2": 0.25}, "operators": {"CONV_2D": 3}}
    page = Page(page_of(with_manifest(judged(fast_path=fast)), tmp_path))
    rows = [row for row in page.rows if row[0].startswith(("model.tflite", "saved_model.pb"))]
    assert rows[0] == ["model.tflite", "50 KiB", "0.5 ms", "0.25 ms", "not compared", "float32", "–", "–"]
    assert rows[1][2:] == ["–", "–", "3e-06", "–", "–", "–"]


def test_fast_path_in_lower_precision_has_its_accuracy_or_the_reason_why_it_is_missing(tmp_path: Path) -> None:
    fast = {
        "file": "model.tflite", "form": "int8", "size_bytes": 51_200, "latency_ms": {"1": 0.5}, "operators": {"CONV_2D": 3},
        "accuracy": {"outputs": {"y": {"sqnr_db": 31.25}}}, "delegation": {"share": 0.75},
    }  # fmt: skip
    page = Page(page_of(with_manifest(judged(fast_path=fast)), tmp_path))
    (row,) = [row for row in page.rows if row[0] == "model.tflite"]
    assert row[-3:] == ["int8", "31.2 dB", "75%"] and "to the precision that its accuracy gate allows" in page.text
    refused = {"form": "int8", "reason": "its SQNR is 3.0 dB", "below_gate": True}
    page = Page(page_of(with_manifest(judged(fast_path_refused=refused)), tmp_path))
    assert "is not published: int8, below its gate: its SQNR is 3.0 dB" in page.text

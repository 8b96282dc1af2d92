from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bundler.bundle.schema import PrecisionRecord
from bundler.render.report.precision import precision_view
from tests.bundler.render.report.pages import Page, assert_accessible, make_manifest, page_of, with_manifest

PASSED: dict[str, Any] = {
    "dtype": "bfloat16", "passed": True, "accuracy": {"outputs": {"logits": {"sqnr_db": 42.7}, "label": {"top1": 1.0}}},
    "latency_ms": {"float32": {"1": 10.0, "8": 80.0}, "bfloat16": {"1": 7.5, "8": 40.0}},
    "size_bytes": {"float32": 2048, "bfloat16": 1024}, "instructions": ["AVX-512 BF16"],
}  # fmt: skip
SLOWER: dict[str, Any] = {**PASSED, "passed": False, "reason": "is slower here than in float32"}


@pytest.fixture
def page(tmp_path: Path) -> Page:
    manifest = make_manifest()
    manifest["models"]["digits"]["versions"]["3"] |= {"precision": PASSED, "mixed_precision": SLOWER}
    return Page(page_of(with_manifest(manifest), tmp_path))


def test_both_forms_are_shown_beside_float32(page: Page) -> None:
    assert ["SavedModel in bfloat16, 8 rows", "served", "–", "42.7 dB", "40 ms", "80 ms", "0.50"] in page.rows
    assert ["--mixed_precision=bfloat16, 1 row", "not served", "–", "42.7 dB", "7.5 ms", "10 ms", "0.75"] in page.rows
    assert "--mixed_precision=bfloat16: is slower here than in float32" in page.text
    assert "Size: 1 KiB, in float32 2 KiB." in page.text
    assert "a CPU with AVX-512 BF16. CPUs that gain" in page.text
    assert_accessible(page)


def test_a_form_that_could_not_run_has_no_figures() -> None:
    record = PrecisionRecord(dtype="bfloat16", passed=False, reason="crashed", below_gate=False)
    view = precision_view(record, None)
    assert view is not None
    assert view.rows == (("SavedModel in bfloat16", "not served", "–", "–", "–", "–", "–"),)
    assert "a CPU without instructions for bfloat16" in view.notes[-1]


def test_a_model_in_float32_has_no_such_section() -> None:
    assert precision_view(None, None) is None

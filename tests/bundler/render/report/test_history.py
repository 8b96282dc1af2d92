"""The report's comparison of a model's versions."""

from __future__ import annotations

from pathlib import Path

from bundler.bundle.schema import read_manifest
from bundler.render.report.history import history_view
from tests.bundler.render.report.pages import Page, make_manifest, page_of, with_manifest


def test_versions_are_compared_in_charts_and_tables(tmp_path: Path) -> None:
    manifest = make_manifest()
    versions = manifest["models"]["digits"]["versions"]
    small = {**versions["3"]["tflite"]["int8"], "size_bytes": 20_480}
    versions["2"] = {**versions["2"], "graph": {**versions["2"]["graph"], "weight_bytes": 51_200}, "tflite": {"int8": small}}
    page = Page(page_of(with_manifest(manifest), tmp_path))
    weights = page.bars("Weights of the SavedModel")
    assert weights == ["version 3 100 KiB", "version 2 50 KiB", "version 1 100 KiB"]
    assert ["int8", "3", "32.2 KiB", "1.25 ms", "0.0025", "–"] in page.rows
    assert ["int8", "2", "20 KiB", "1.25 ms", "0.0025", "–"] in page.rows
    assert page.text.count("Weights of the SavedModel") == 1  # minilm has one version


def test_a_single_version_has_neither_charts_nor_variants_to_compare() -> None:
    records = read_manifest(make_manifest()).models["digits"].versions
    view = history_view({3: records[3]}, served=(3,), order=())
    assert [(row.number, row.served) for row in view.versions] == [(3, True)]
    assert (view.charts, view.variants) == ((), ())

"""bundle.json as the report reads it: missing and malformed keys are errors, other keys are ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.bundle.schema import read_manifest
from bundler.errors import VerifyError
from bundler.render import report
from tests.bundler.render.report.pages import make_manifest, with_manifest


@pytest.mark.parametrize("key", ["parity", "graph", "tflite", "stages", "signatures"])
def test_a_missing_key_is_an_error_and_not_a_gap_in_the_page(key: str, tmp_path: Path) -> None:
    manifest = make_manifest()
    del manifest["models"]["digits"]["versions"]["3"][key]
    with pytest.raises(VerifyError, match=rf"models\.digits\.versions\.3\.{key}"):
        report.render(with_manifest(manifest), tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_an_evaluation_needs_one_figure_per_entry_of_its_data(tmp_path: Path) -> None:
    wrong = {"metric": "similarity", "data": ["a", "b"], "samples": 2, "results": {"pytorch": [0.5]}}
    with pytest.raises(VerifyError, match="pytorch: expected one figure per entry of 'data', so 2, but got 1"):
        report.render(with_manifest(make_manifest(evaluation=wrong)), tmp_path)


def test_all_problems_are_reported_at_once() -> None:
    manifest = make_manifest(graph={"ops": {}}, opset="new")
    with pytest.raises(VerifyError) as caught:
        read_manifest(manifest)
    assert all(key in caught.value.what for key in ("graph.transposes", "graph.weight_bytes", "graph.nodes", "opset"))


def test_unknown_keys_are_ignored() -> None:
    assert read_manifest({**make_manifest(), "later": 1}).models["digits"].versions[3].opset == 23

"""The example in docs/custom-ops.md and that of examples/ build in this process. tests/test_documents.py runs the page."""

from __future__ import annotations

from pathlib import Path

import pytest

import bundler
from tests.documents import blocks_of
from tests.models import EXAMPLES


def test_the_first_build_of_the_document_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks_of("docs/custom-ops.md"):
        if block.file:
            (tmp_path / block.file).write_text(block.text)
    bundle = bundler.build("denoiser.py:make", out="dist/denoiser", ops="shrink_ops.py")
    assert bundle.record("denoiser")["source"]["ops"][0]["file"] == "shrink_ops.py"
    assert "mylib:SoftShrink" in bundle.notices[0]


@pytest.mark.slow
def test_the_example_in_the_repository_builds(tmp_path: Path) -> None:
    source, handlers = EXAMPLES / "soft_shrink.py", EXAMPLES / "soft_shrink_ops.py"
    bundle = bundler.build(f"{source}:soft_shrink", out=tmp_path / "x", ops=handlers)
    (line,) = bundle.record("soft_shrink")["parity"]["summary"]
    assert line["runtime"] == "saved_model"
    assert line["max_rel"] < 1e-5

"""The examples in serving/error_pages/ are what the command line prints today."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving.error_codes import FOLDER, pages
from tests.error_examples import MISTAKES, Given, message
from tests.samples import slow

WRITE = "TFBUNDLE_WRITE_EXAMPLES"
SLOW = ("TFB9208", "TFB9210", "TFB9301", "TFB9302")
"""Examples that take a build and more."""


def test_many_examples_are_made_by_a_mistake() -> None:
    assert set(MISTAKES) <= set(pages()) and len(MISTAKES) >= 60


@pytest.mark.parametrize("code", [*(code for code in MISTAKES if code not in SLOW), *slow(*SLOW)])
def test_example_is_what_is_printed(
    code: str,
    mlp_onnx: Path,
    small_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = message(MISTAKES[code], Given(mlp_onnx, small_bundle, monkeypatch), capsys)
    assert printed.startswith(f"error {code}: ")
    if os.environ.get(WRITE) == "1":
        write(code, printed)
    assert printed == pages()[code].example


def write(code: str, printed: str) -> None:
    """Replace the example of a page."""
    for path in FOLDER.glob("*.md"):
        text = path.read_text("utf-8")
        path.write_text(text.replace(f"```text\n{pages()[code].example}\n```", f"```text\n{printed}\n```"), "utf-8")
    pages.cache_clear()

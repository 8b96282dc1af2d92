"""Progress of a build: plain lines where there is no terminal, a bar where there is one."""

from __future__ import annotations

import io
import sys

import pytest

from bundler.cli.progress import stages
from bundler.pipeline import StageEvent

EVENTS = (
    StageEvent("net", "export", "started"),
    StageEvent("net", "export", "finished", 1.25),
    StageEvent("net", "tflite", "failed", 2.0, "int8"),
    StageEvent("net", "tflite", "finished", 3.0, "float16"),
    StageEvent("", "publish", "failed", 0.5),
)


def test_without_a_terminal_there_is_one_line_per_finished_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with stages(3) as show:
        for event in EVENTS:
            show(event)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "net: export to ONNX: 1.2 s",
        "net: TFLite int8: 2.0 s (left out)",
        "net: TFLite float16: 3.0 s",
    ]


def test_on_a_terminal_each_stage_leaves_a_line_with_its_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with stages(3) as show:
        for event in EVENTS:
            show(event)
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "✓ net: export to ONNX" in shown
    assert "✗ net: TFLite int8" in shown
    assert "✗ publish" in shown

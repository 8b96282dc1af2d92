"""Progress: plain lines where there is no terminal, bars where there is one."""

from __future__ import annotations

import io
import sys

import pytest

from bundler.cli.progress import stages, transfers
from bundler.delivery.transfers import Transfer
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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_each_stage_leaves_a_line_with_its_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with stages(3) as show:
        for event in EVENTS:
            show(event)
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "✓ net: export to ONNX" in shown
    assert "✗ net: TFLite int8" in shown
    assert "✗ publish" in shown


TRANSFERS = (
    Transfer("models/net/1", 2_000_000, 500_000, "read"),
    Transfer("models/net/1", 2_000_000, 1_000_000, "push"),
    Transfer("models/net/1", 2_000_000, 2_000_000, outcome="pushed"),
    Transfer("report.html", 1000, 1000, outcome="skipped"),
)


def test_without_a_terminal_there_is_one_line_per_transferred_part(capsys: pytest.CaptureFixture[str]) -> None:
    with transfers() as show:
        for transfer in TRANSFERS:
            show(transfer)
    assert capsys.readouterr() == ("", "models/net/1: pushed, 2.0 MB\n")


def test_on_a_terminal_each_transferred_part_has_a_bar_and_leaves_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with transfers() as show:
        for transfer in TRANSFERS:
            show(transfer)
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "✓ models/net/1 pushed, 2.0 MB" in shown and "report.html" not in shown

"""The output of torch is captured; other threads still print."""

from __future__ import annotations

import logging
import sys
import threading
import warnings

import pytest

from bundler.process.logs import silence


def test_prints_and_logs_of_this_thread_are_captured_and_warnings_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    with silence() as captured:
        print("to stdout")
        print("to stderr", file=sys.stderr)
        logging.getLogger("torch.onnx.something").error("logged")
        warnings.warn("advice", stacklevel=1)
    assert capsys.readouterr() == ("", "")
    assert captured.getvalue().split() == ["to", "stdout", "to", "stderr", "logged"]


def test_another_thread_still_prints(capsys: pytest.CaptureFixture[str]) -> None:
    with silence() as captured:
        thread = threading.Thread(target=print, args=("progress",))
        thread.start()
        thread.join()
    assert capsys.readouterr().out == "progress\n"
    assert captured.getvalue() == ""


def test_everything_is_restored_after_an_error() -> None:
    before = sys.stdout, sys.stderr, logging.getLogger("torch").handlers, logging.getLogger("torch").propagate
    with pytest.raises(ValueError, match="stop"), silence():
        raise ValueError("stop")
    after = sys.stdout, sys.stderr, logging.getLogger("torch").handlers, logging.getLogger("torch").propagate
    assert after == before

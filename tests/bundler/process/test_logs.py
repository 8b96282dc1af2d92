"""Torch's chatter is kept, other threads are heard."""

from __future__ import annotations

import logging
import sys
import threading
import warnings

import pytest

from bundler.process.logs import silence


def test_prints_logs_and_warnings_of_this_thread_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    with silence() as kept:
        print("to stdout")
        print("to stderr", file=sys.stderr)
        logging.getLogger("torch.onnx.something").error("logged")
        warnings.warn("advice", stacklevel=1)
    assert capsys.readouterr() == ("", "")
    assert kept.getvalue().split() == ["to", "stdout", "to", "stderr", "logged"]


def test_another_thread_goes_on_printing(capsys: pytest.CaptureFixture[str]) -> None:
    with silence() as kept:
        thread = threading.Thread(target=print, args=("progress",))
        thread.start()
        thread.join()
    assert capsys.readouterr().out == "progress\n"
    assert kept.getvalue() == ""


def test_everything_is_put_back_after_an_error() -> None:
    before = sys.stdout, sys.stderr, logging.getLogger("torch").handlers, logging.getLogger("torch").propagate
    with pytest.raises(ValueError, match="stop"), silence():
        raise ValueError("stop")
    after = sys.stdout, sys.stderr, logging.getLogger("torch").handlers, logging.getLogger("torch").propagate
    assert after == before

"""An interruption stays one, whatever a library makes of its exception."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from bundler.process.interrupts import watched


def interrupt() -> None:
    """Interrupt this process, and wait for the exception in the main thread."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)


def test_an_error_that_a_library_raises_after_ctrl_c_is_an_interruption() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, watched():
        try:
            interrupt()
        except KeyboardInterrupt:
            raise RuntimeError("Caught an unknown exception!") from None
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_swallowed_ctrl_c_is_raised_at_the_end() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), watched():
        try:
            interrupt()
        except KeyboardInterrupt:
            done.append(True)
    assert done


def test_an_error_that_ctrl_c_caused_in_another_thread_is_an_interruption() -> None:
    outcome: list[BaseException] = []

    def run() -> None:
        try:
            with watched():
                raise ValueError("export failed") from KeyboardInterrupt()
        except BaseException as exc:  # noqa: BLE001 - the outcome is what is tested
            outcome.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert isinstance(outcome[0], KeyboardInterrupt)


def test_other_errors_pass_unchanged_and_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="plain"), watched():
        raise ValueError("plain")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before

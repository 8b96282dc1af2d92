"""The handlers of both signals; tests/faults/test_signals.py ends processes with them."""

from __future__ import annotations

import os
import signal
import time

import pytest

from serving.server import signals
from serving.server.signals import ShutdownSignals


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The exit codes with which the process would have ended."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    return codes


def test_first_signal_starts_the_drain_and_the_handlers_are_restored(exits: list[int]) -> None:
    interrupted: list[bool] = []
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with ShutdownSignals(accepts=lambda: True, interrupt=lambda: interrupted.append(True), grace_seconds=30) as shutdown:
        assert not shutdown.requested.is_set()
        signal.raise_signal(signal.SIGTERM)
        assert shutdown.requested.wait(5)
        signal.raise_signal(signal.SIGTERM)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert (interrupted, exits) == ([True], [])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_second_signal_exits(exits: list[int], monkeypatch: pytest.MonkeyPatch, number: int, code: int) -> None:
    monkeypatch.setattr(signals, "SAME_SECONDS", 0.0)
    with ShutdownSignals(accepts=lambda: True, interrupt=lambda: None, grace_seconds=30):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(number)
    assert exits == [code]


def test_signal_before_the_ports_are_open_exits_with_0(exits: list[int]) -> None:
    with ShutdownSignals(accepts=lambda: False, interrupt=lambda: None, grace_seconds=30):
        signal.raise_signal(signal.SIGTERM)
    assert exits[0] == 0


def test_drain_that_takes_too_long_exits(exits: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "SLACK_SECONDS", 0.05)
    with ShutdownSignals(accepts=lambda: True, interrupt=lambda: None, grace_seconds=0):
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.5)
    assert exits == [143]

"""Checks of file descriptors and threads before a server starts; tests/faults/test_server_config.py has them on processes."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.errors import ConfigError
from serving.server.config.limits import check_limits


@contextmanager
def most_files(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_usual_limits_pass_and_nothing_is_kept() -> None:
    before = threading.active_count(), len(list(Path("/dev/fd").iterdir()))
    check_limits()
    assert (threading.active_count(), len(list(Path("/dev/fd").iterdir()))) == before


def test_too_few_files_are_refused() -> None:
    with most_files(32), pytest.raises(ConfigError, match=r"more files can be opened \(Too many open files\)") as wrong:
        check_limits()
    assert "ulimit -n" in (wrong.value.fix or "")


def test_too_few_threads_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter(range(7))
    start = threading.Thread.start

    def limited(self: threading.Thread) -> None:
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(ConfigError, match="only 7 more threads can be started"):
        check_limits()

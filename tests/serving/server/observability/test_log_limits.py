from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from serving.server.observability import log_limits
from serving.server.observability.log_limits import LogLimits, limit_lines
from serving.server.observability.log_lines import JsonFormatter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [1000.0]
    monkeypatch.setattr(log_limits.time, "monotonic", lambda: now[0])
    yield now


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What `flooded` writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    limit_lines(handler)
    limit_lines(handler)
    assert len(handler.filters) == 1
    logger = logging.getLogger("flooded")
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)


log = logging.getLogger("flooded")


def test_lines_beyond_the_limit_are_counted(clock: list[float], lines: io.StringIO) -> None:
    for number in range(1239):
        log.warning("Client %d failed.", number)
    assert lines.getvalue().splitlines() == [f"Client {number} failed." for number in range(5)]
    clock[0] += 61
    log.warning("Client %d failed.", 7)
    log.warning("Client %d failed.", 8)
    assert lines.getvalue().splitlines()[5:] == ["Client 7 failed. (and 1,234 more in the last 61 s)", "Client 8 failed."]


def test_kinds_do_not_count_together(clock: list[float], lines: io.StringIO) -> None:
    for number in range(50):
        log.warning("a")
        log.warning("b")
        log.info("a")
        log.warning(f"socket {number} is closed")
    text = lines.getvalue().splitlines()
    assert (text.count("a"), text.count("b"), len(text)) == (55, 5, 65)


def test_hostile_texts_cannot_make_kinds_without_end(clock: list[float], lines: io.StringIO) -> None:
    for number in range(2000):
        log.warning("kind " + chr(0x4E00 + number))
    assert len(lines.getvalue().splitlines()) == 55
    limits = next(each for each in log.handlers[0].filters if isinstance(each, LogLimits))
    assert len(limits._counts) <= 51
    clock[0] += 3600
    log.warning("kind of a later hour")
    assert "kind of a later hour" in lines.getvalue()


def test_only_the_first_line_of_a_kind_has_its_traceback(clock: list[float], lines: io.StringIO) -> None:
    for _ in range(3):
        try:
            raise OSError(24, "Too many open files")
        except OSError:
            log.exception("accept failed")
    text = lines.getvalue()
    assert text.count("Traceback") == 1
    assert text.splitlines()[-1] == "accept failed [OSError: [Errno 24] Too many open files]"


def test_long_messages_are_cut(clock: list[float], lines: io.StringIO) -> None:
    log.warning("%s", "x" * 100_000)
    assert lines.getvalue() == "x" * 2000 + "... (100,000 characters)\n"


def test_json_lines_have_the_count_and_the_traceback(clock: list[float], lines: io.StringIO) -> None:
    log.handlers[0].setFormatter(JsonFormatter())
    try:
        raise ValueError("x" * 20_000)
    except ValueError:
        log.exception("failed")
    assert '"exception": "Traceback' in lines.getvalue()
    assert len(lines.getvalue()) < 10_000


def test_lines_of_requests_are_exempt(clock: list[float]) -> None:
    record = logging.LogRecord("serving.access", logging.INFO, "", 0, "Predict m OK", None, None)
    limits = LogLimits()
    assert all(limits.filter(record) for _ in range(1000))

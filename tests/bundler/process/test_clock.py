"""SOURCE_DATE_EPOCH is the time of a build, and turns measured times off."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from bundler.errors import UsageError
from bundler.process.clock import EPOCH_ENV, now_text, records_times, source_date


def test_the_environment_gives_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EPOCH_ENV, "1700000000")
    assert now_text() == "2023-11-14T22:13:20+00:00" and not records_times()


def test_without_it_the_time_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, ""):
        monkeypatch.delenv(EPOCH_ENV, raising=False) if value is None else monkeypatch.setenv(EPOCH_ENV, value)
        assert source_date() is None and records_times()
        assert abs(datetime.fromisoformat(now_text()) - datetime.now(timezone.utc)) < timedelta(minutes=1)


@pytest.mark.parametrize("text", ["yesterday", "-1", "1.5", "9" * 30, "１２"])
def test_other_texts_are_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EPOCH_ENV, text)
    with pytest.raises(UsageError, match="not a number of seconds") as raised:
        now_text()
    assert raised.value.code == "TFB1002"

"""Waiting for shards: in folders, stores and registries, until all are there or the time is over."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from bundler.errors import DeliveryError
from bundler.operations import shard_wait


def shard(folder: Path, number: int, *, is_complete: bool = True) -> None:
    path = folder / f"shard-{number}-of-3"
    path.mkdir(parents=True)
    if is_complete:
        (path / "shard.json").write_text("{}")


def wait(*places: str, seconds: float = 10.0) -> list[str]:
    said: list[str] = []
    shard_wait.wait(places, seconds, said.append, poll_s=0.02)
    return said


def test_it_returns_at_once_when_all_are_there(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        shard(tmp_path, number)
    assert wait(str(tmp_path)) == []
    assert wait(*(str(tmp_path / f"shard-{number}-of-3") for number in (1, 2, 3))) == []


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_it_waits_for_the_last_one_and_tells_how_many_there_are(scheme: str, tmp_path: Path) -> None:
    shard(tmp_path, 1)
    shard(tmp_path, 2, is_complete=False)
    told = threading.Event()
    said: list[str] = []

    def notice(text: str) -> None:
        said.append(text)
        told.set()

    def finish() -> None:
        assert told.wait(30)
        (tmp_path / "shard-2-of-3" / "shard.json").write_text("{}")
        shard(tmp_path, 3)

    thread = threading.Thread(target=finish)
    thread.start()
    shard_wait.wait([f"{scheme}{tmp_path}"], 60, notice, poll_s=0.02)
    thread.join()
    assert said[0] == f"1 of 3 shards are at {scheme}{tmp_path}; waiting for the others."


def test_shards_that_do_not_come_are_named(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="missing: all"):
        wait(str(tmp_path), seconds=0.05)
    shard(tmp_path, 2)
    with pytest.raises(DeliveryError, match="missing: 1, 3 of 3") as caught:
        wait(str(tmp_path), seconds=0.05)
    assert caught.value.code == "TFB5258"

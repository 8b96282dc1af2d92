"""How much memory is free, by the system's and the container's account."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.process import memory

MEMINFO = "MemTotal:       24684000 kB\nMemFree:          100000 kB\nMemAvailable:    2000000 kB\n"


@pytest.mark.parametrize(
    ("meminfo", "limit", "used", "expected"),
    [
        (MEMINFO, None, None, 2000000 * 1024),
        (MEMINFO, "1000000\n", "400000\n", 600000),
        (MEMINFO, "max\n", "400000\n", 2000000 * 1024),
        (None, None, None, float("inf")),
    ],
)
def test_the_smaller_of_machine_and_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meminfo: str | None, limit: str | None, used: str | None, expected: float
) -> None:
    for name, text in (("_MEMINFO", meminfo), ("_LIMIT", limit), ("_USED", used)):
        monkeypatch.setattr(memory, name, tmp_path / name)
        if text is not None:
            (tmp_path / name).write_text(text)
    assert memory.available_bytes() == expected


def test_a_process_occupies_what_it_has_touched() -> None:
    before = memory.used_bytes()
    block = bytearray(b"x" * (64 << 20))
    assert memory.used_bytes() - before > 48 << 20 and len(block)

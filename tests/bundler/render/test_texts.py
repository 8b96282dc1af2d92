"""Sizes and durations as text."""

from __future__ import annotations

import pytest

from bundler.render import texts


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (90 * 2**20, "90 MiB"), (3 * 2**30, "3 GiB"), (2**41, "2.05e+03 GiB")],
)
def test_sizes_with_binary_units(size: int, text: str) -> None:
    assert texts.size_text(size) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_250_000, "1.2 MB"), (2 * 10**12, "2000.0 GB")]
)
def test_sizes_with_decimal_units(size: int, text: str) -> None:
    assert texts.decimal_size_text(size) == text


@pytest.mark.parametrize(("value", "text"), [(0.25, "0.25 ms"), (999.4, "999 ms"), (1500, "1.5 s")])
def test_durations(value: float, text: str) -> None:
    assert texts.milliseconds_text(value) == text

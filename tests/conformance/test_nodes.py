"""ONNX's own node tests through the engine, in graph mode; a third of them through a SavedModel on disk as well.

`known_failures` lists what does not pass, with reasons. The list is strict both ways: a case that fails must be on it, a
case that is on it must fail.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.cases import cases, is_saved
from tests.conformance.known_failures import REASONS, reason

NAMES = sorted(cases())
GOAL = 1750


def outcome(name: str, saved: Path | None = None) -> str | None:
    """What is wrong with a case, or None if it passes."""
    import tensorflow as tf

    from bundler.errors import ConversionError
    from tests.conformance.runner import check

    try:
        check(cases()[name], saved)
    except (AssertionError, ConversionError, tf.errors.OpError) as exc:
        return f"{type(exc).__name__}: {exc}"
    return None


def judge(name: str, wrong: str | None) -> None:
    known = reason(name)
    if known is None:
        assert wrong is None, wrong
    else:
        assert wrong is not None, f"{name} passes now: take it off the list ({known})"


@pytest.mark.parametrize("name", NAMES)
def test_graph(name: str) -> None:
    judge(name, outcome(name))


@pytest.mark.parametrize("name", [n for n in NAMES if is_saved(n) and reason(n) is None])
def test_saved_model(name: str, tmp_path: Path) -> None:
    judge(name, outcome(name, tmp_path / "1"))


def test_goal() -> None:
    listed = [name for names in REASONS.values() for name in names]
    assert len(listed) == len(set(listed)), "a case is listed twice"
    assert not set(listed) - set(NAMES), "listed, but no such case"
    assert len(NAMES) - len(listed) >= GOAL

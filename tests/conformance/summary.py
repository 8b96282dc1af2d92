"""Counts how many cases of a test run pass, for the end of its output."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tests.conformance.known_failures import REASONS, reason

_CASE = re.compile(r"tests/conformance/test_(nodes|models)\.py::test_graph\[(.+)\]$")


def summary(passed: Iterable[str]) -> list[str]:
    """Return the lines of the summary; an empty list if no case ran.

    Args:
        passed: node ids of the tests that passed. The test of a known failure passes if the case fails.
    """
    kinds: dict[str, list[str]] = {}
    for match in filter(None, map(_CASE.search, passed)):
        kinds.setdefault(_kind(*match.groups()), []).append(match[2])
    if not kinds:
        return []
    counts = [
        f"{sum(reason(name) is None for name in names):,} of {len(names):,} {kind}"
        for kind, names in sorted(kinds.items(), key=lambda item: -len(item[1]))
    ]
    ran = {name for names in kinds.values() for name in names}
    failing = {why: len(ran.intersection(names)) for why, names in REASONS.items()}
    return ["Conformance: " + ", ".join(counts), *(f"{count:5d}  {why}" for why, count in failing.items() if count)]


def _kind(file: str, name: str) -> str:
    if file == "models":
        return "models of the onnx wheel"
    return "node tests of ai.onnx.ml" if name.startswith("test_ai_onnx_ml_") else "node tests of ai.onnx"

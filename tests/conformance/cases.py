"""ONNX's own node tests: models of one or a few nodes, with inputs and the outputs that the specification asks for."""

from __future__ import annotations

import hashlib
import warnings
from functools import cache
from typing import Any

DOMAINS = ("", "ai.onnx", "ai.onnx.preview")
"""ai.onnx.ml and training are other operator sets."""


@cache
def cases() -> dict[str, Any]:
    """By name, every case of the ai.onnx domain (onnx.backend.test.case.test_case.TestCase)."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), _errors_ignored():
        warnings.simplefilter("ignore")  # ONNX computes expected infinities and NaNs in NumPy
        found = collect_testcases(None)
    return {c.name: c for c in found if all(node.domain in DOMAINS for node in c.model.graph.node)}


def _errors_ignored() -> Any:
    import numpy as np

    return np.errstate(all="ignore")


def share(name: str) -> int:
    """A number from 0 to 99 that stays with the case whatever cases are added."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 100


def is_saved(name: str) -> bool:
    """A third of the cases goes through a SavedModel on disk too."""
    return share(name) < 33

"""ONNX's own tests: models with inputs and the outputs that the specification requires.

Node tests are models of one or a few nodes, made in memory; model tests are in folders of the onnx wheel.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.known_failures import reason

DOMAINS = ("", "ai.onnx", "ai.onnx.preview")
"""The node tests of ONNX's own operators; ai.onnx.preview.training is for training."""

FOLDERS = ("simple", "pytorch-operator", "pytorch-converted")


@cache
def node_cases() -> dict[str, Any]:
    """Return all cases of the ai.onnx domain by name (onnx.backend.test.case.test_case.TestCase)."""
    return {c.name: c for c in _collected() if all(node.domain in DOMAINS for node in c.model.graph.node)}


@cache
def ml_cases() -> dict[str, Any]:
    """Return all cases with an operator of ai.onnx.ml, by name."""
    return {c.name: c for c in _collected() if any(node.domain == "ai.onnx.ml" for node in c.model.graph.node)}


@cache
def model_cases() -> dict[str, Any]:
    """Return the cases of FOLDERS by folder and name, with model and data loaded."""
    from onnx.backend.test.loader import load_model_tests

    return {f"{folder}/{c.name}": _read(c) for folder in FOLDERS for c in load_model_tests(kind=folder)}


def case(name: str) -> Any:
    """Return the case of this name, of any kind."""
    return next(kind()[name] for kind in (node_cases, ml_cases, model_cases) if name in kind())


@cache
def _collected() -> list[Any]:
    import numpy as np
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # ONNX computes expected infinities and NaNs in NumPy
        cases: list[Any] = collect_testcases(None)
    return cases


def _read(case: Any) -> Any:
    """Return the case with its model loaded, and its data sets as (inputs, outputs)."""
    import onnx

    folder = Path(case.model_dir)
    model = onnx.load(folder / "model.onnx")
    data = [
        (_values(data_set, "input", fed_inputs(model.graph)), _values(data_set, "output", model.graph.output))
        for data_set in sorted(folder.glob("test_data_set_*"))
    ]
    return replace(case, model=model, data_sets=data)


def fed_inputs(graph: Any) -> list[Any]:
    """Return the inputs without those that are initializers too (IR version 3)."""
    initialized = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in initialized]


def _values(folder: Path, kind: str, declared: Sequence[Any]) -> list[Any]:
    """Return the arrays of `input_0.pb` and so on; a list of arrays where a sequence is declared."""
    import onnx
    from onnx import numpy_helper

    values: list[Any] = []
    for index, value in enumerate(declared):
        content = (folder / f"{kind}_{index}.pb").read_bytes()
        if value.type.WhichOneof("value") == "sequence_type":
            values.append(numpy_helper.to_list(onnx.SequenceProto.FromString(content)))
        else:
            values.append(numpy_helper.to_array(onnx.TensorProto.FromString(content)))
    return values


def share(name: str) -> int:
    """Return a number from 0 to 99 for the case that does not change when cases are added."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 100


def saved_cases(names: Iterable[str]) -> list[Any]:
    """Return a third of the passing cases, for the test through a SavedModel: one in sixteen always, the others as slow tests."""
    return [
        pytest.param(name, marks=() if share(name) < 6 else pytest.mark.slow)
        for name in names
        if share(name) < 33 and reason(name) is None
    ]

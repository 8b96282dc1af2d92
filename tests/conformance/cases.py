"""ONNX's own tests: models with inputs and the outputs that the specification asks for.

Node tests are models of one or a few nodes, made in memory; the model tests lie in folders of the onnx wheel.
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
    """By name, every case of the ai.onnx domain (onnx.backend.test.case.test_case.TestCase)."""
    return {c.name: c for c in _collected() if all(node.domain in DOMAINS for node in c.model.graph.node)}


@cache
def ml_cases() -> dict[str, Any]:
    """By name, every case with an operator of ai.onnx.ml."""
    return {c.name: c for c in _collected() if any(node.domain == "ai.onnx.ml" for node in c.model.graph.node)}


@cache
def model_cases() -> dict[str, Any]:
    """By folder and name, the cases of FOLDERS, with model and data read."""
    from onnx.backend.test.loader import load_model_tests

    return {f"{folder}/{c.name}": _read(c) for folder in FOLDERS for c in load_model_tests(kind=folder)}


def case(name: str) -> Any:
    """The case of any of these kinds."""
    return next(kind()[name] for kind in (node_cases, ml_cases, model_cases) if name in kind())


@cache
def _collected() -> list[Any]:
    import numpy as np
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # ONNX computes expected infinities and NaNs in NumPy
        found: list[Any] = collect_testcases(None)
    return found


def _read(found: Any) -> Any:
    """The case with its model, and its data sets as (inputs, outputs)."""
    import onnx

    folder = Path(found.model_dir)
    model = onnx.load(folder / "model.onnx")
    data = [
        (_values(data_set, "input", fed_inputs(model.graph)), _values(data_set, "output", model.graph.output))
        for data_set in sorted(folder.glob("test_data_set_*"))
    ]
    return replace(found, model=model, data_sets=data)


def fed_inputs(graph: Any) -> list[Any]:
    """The inputs without those that an initializer of the same name fills (IR version 3)."""
    filled = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in filled]


def _values(folder: Path, kind: str, declared: Sequence[Any]) -> list[Any]:
    """The arrays of `input_0.pb` …, lists of them where a sequence is declared."""
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
    """A number from 0 to 99 that stays with the case whatever cases are added."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 100


def saved_cases(names: Iterable[str]) -> list[Any]:
    """A third of the cases that pass goes through a SavedModel on disk too: one in sixteen always, the others in the long run."""
    return [
        pytest.param(name, marks=() if share(name) < 6 else pytest.mark.slow)
        for name in names
        if share(name) < 33 and reason(name) is None
    ]

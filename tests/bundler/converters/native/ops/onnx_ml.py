"""Nodes of ai.onnx.ml for tests, compared with ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from tests.bundler.converters.native.oracle import Array, array, assert_agrees, model_of

ROWS = array(6, 4)
TRANSFORMS = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"]


def assert_op_agrees(
    op_type: str, *inputs: Array, outputs: int = 1, version: int = 3, rtol: float = 1e-4, **attributes: Any
) -> None:
    """Compare a node with ONNX Runtime, at this batch size and at twice that."""
    arrays = {f"x{i}": x for i, x in enumerate(inputs)}
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, list(arrays), results, domain="ai.onnx.ml", **attributes)
    model = model_of([node], arrays, results, domains={"ai.onnx.ml": version})
    twice = {k: np.concatenate([v, v[::-1]]) for k, v in arrays.items()}
    assert_agrees(model, arrays, twice, rtol=rtol)

"""ONNX Runtime's own activations and small operators, compared with it or with PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.bundler.converters.native.ops.microsoft import X, assert_op_agrees, run
from tests.bundler.converters.native.oracle import array


@pytest.mark.parametrize("op_type", ["Gelu", "QuickGelu", "FastGelu"])
def test_activations(op_type: str) -> None:
    assert_op_agrees(op_type, {"x": X})


@pytest.mark.parametrize("op_type", ["BiasGelu", "FastGelu"])
def test_activations_with_a_bias(op_type: str) -> None:
    assert_op_agrees(op_type, {"x": X}, {"b": array(8, seed=1)})


def test_bias_split_gelu() -> None:
    bias = array(8, seed=1)
    (got,) = run("BiasSplitGelu", {"x": X, "b": bias})
    first, second = torch.from_numpy(X + bias).chunk(2, -1)
    np.testing.assert_allclose(got, first * torch.nn.functional.gelu(second), rtol=1e-5, atol=1e-6)


def test_bias_add() -> None:
    bias, skip = array(8, seed=1), array(2, 5, 8, seed=2)
    np.testing.assert_allclose(run("BiasAdd", {"x": X, "b": bias, "skip": skip})[0], X + bias + skip, rtol=1e-6)


def test_other_small_operators() -> None:
    assert_op_agrees("Inverse", {"x": array(3, 4, 4) + 4 * np.eye(4, dtype=np.float32)}, dynamic=None)
    assert_op_agrees("Trilu", {"x": X}, {"k": np.array(1)}, upper=0)
    assert_op_agrees("GatherND", {"x": X}, {"at": np.array([[0, 1], [1, 4]])})
    assert_op_agrees("Pad", {"x": X}, {"pads": np.array([0, 1, 0, 0, 0, 2]), "value": np.array(3, np.float32)})
    assert_op_agrees("CDist", {"a": array(3, 4)}, {"b": array(5, 4, seed=1)}, metric="euclidean")
    assert_op_agrees("CDist", {"a": array(3, 4)}, {"b": array(5, 4, seed=1)}, metric="sqeuclidean")

"""Scatters and Unique of booleans mean what PyTorch means: a sum is a logical or, a product a logical and."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from bundler.values.arrays import Array
from tests.bundler.converters.native.oracle import native

_DATA = np.array([[True, False, False], [False, False, True], [True, True, False]])
_UPDATES = np.array([[True, True, False], [True, False, False]])
_INDICES = np.array([[0, 1, 2], [0, 1, 0]])


def _answers(node: onnx.NodeProto, feed: dict[str, Array], kinds: dict[str, int]) -> dict[str, Array]:
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), [f"{n}{i}" for i in range(a.ndim)])
        for n, a in feed.items()
    ]
    outputs = [helper.make_tensor_value_info(n, kind, None) for n, kind in kinds.items()]
    model = helper.make_model(
        helper.make_graph([node], "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 20)], ir_version=9
    )
    return {k: v.numpy() for k, v in native(model)(**feed).items()}


@pytest.mark.parametrize(("reduction", "name"), [("add", "sum"), ("mul", "prod"), ("max", "amax"), ("min", "amin")])
def test_booleans_scatter_as_in_pytorch(reduction: str, name: str) -> None:
    node = helper.make_node("ScatterElements", ["x", "i", "u"], ["y"], axis=0, reduction=reduction)
    got = _answers(node, {"x": _DATA, "i": _INDICES, "u": _UPDATES}, {"y": onnx.TensorProto.BOOL})["y"]
    data, indices, updates = map(torch.from_numpy, (_DATA, _INDICES, _UPDATES))
    want = data.scatter_reduce(0, indices, updates, name)
    assert got.dtype == np.bool_
    np.testing.assert_array_equal(got, want.numpy())


def test_booleans_add_at_coordinates_as_in_pytorch() -> None:
    node = helper.make_node("ScatterND", ["x", "i", "u"], ["y"], reduction="add")
    rows = np.array([0, 2, 0])
    got = _answers(node, {"x": _DATA, "i": rows[:, None], "u": _DATA[::-1].copy()}, {"y": onnx.TensorProto.BOOL})["y"]
    want = torch.from_numpy(_DATA).index_put((torch.from_numpy(rows),), torch.from_numpy(_DATA[::-1].copy()), accumulate=True)
    np.testing.assert_array_equal(got, want.numpy())


@pytest.mark.parametrize("axis", [None, 0])
def test_unique_booleans_are_sorted(axis: int | None) -> None:
    data = np.array([[True, False], [False, True], [True, False]])
    node = helper.make_node("Unique", ["x"], ["y", "", "inverse", "counts"], **({} if axis is None else {"axis": axis}))
    kinds = {"y": onnx.TensorProto.BOOL, "inverse": onnx.TensorProto.INT64, "counts": onnx.TensorProto.INT64}
    got = _answers(node, {"x": data}, kinds)
    values, inverse, counts = torch.unique(torch.from_numpy(data), return_inverse=True, return_counts=True, dim=axis)
    np.testing.assert_array_equal(got["y"], values.numpy())
    np.testing.assert_array_equal(got["inverse"], inverse.numpy().reshape(-1))
    np.testing.assert_array_equal(got["counts"], counts.numpy())

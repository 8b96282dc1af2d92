"""Pools as PyTorch exports them, compared with ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from tests.bundler.converters.native.oracle import array, assert_agrees, assert_node_agrees, model_of, native

WINDOWS: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("1-D", (2, 3, 11), {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    ("2-D", (2, 3, 8, 9), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("ResNet's stem", (2, 3, 9, 9), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("asymmetric pads", (2, 3, 9, 9), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 1, 0]}),
    ("ceil", (2, 3, 9, 10), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("ceil, padded", (2, 3, 9, 10), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}),
    ("SAME_UPPER", (2, 3, 9, 10), {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("SAME_LOWER", (2, 3, 9, 10), {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ("3-D", (2, 3, 6, 7, 8), {"kernel_shape": [2, 3, 2], "strides": [2, 2, 2], "pads": [1, 1, 0, 0, 1, 1]}),
]
IDS = [w[0] for w in WINDOWS]


@pytest.mark.parametrize(("shape", "window"), [w[1:] for w in WINDOWS], ids=IDS)
def test_max_pool(shape: tuple[int, ...], window: dict[str, Any]) -> None:
    assert_node_agrees("MaxPool", {"x": array(*shape) - 3}, **window)


@pytest.mark.sample(3)
@pytest.mark.parametrize(("shape", "window"), [w[1:] for w in WINDOWS], ids=IDS)
@pytest.mark.parametrize("include", [0, 1])
def test_average_pool(shape: tuple[int, ...], window: dict[str, Any], include: int) -> None:
    assert_node_agrees("AveragePool", {"x": array(*shape)}, count_include_pad=include, **window)


@pytest.mark.parametrize("stride", [1, 2])
def test_dilated_max_pool(stride: int) -> None:
    window = {"kernel_shape": [3, 3], "dilations": [2, 2], "strides": [stride, stride], "pads": [2, 2, 2, 2]}
    assert_node_agrees("MaxPool", {"x": array(2, 3, 11, 12) - 3}, **window)


@pytest.mark.parametrize("attributes", [{}, {"pads": [1, 1, 1, 1]}, {"storage_order": 1}, {"dilations": [2, 1]}])
def test_max_pool_with_indices(attributes: dict[str, Any]) -> None:
    x = np.random.default_rng(0).permutation(2 * 3 * 8 * 9).reshape(2, 3, 8, 9).astype(np.float32)
    assert_node_agrees("MaxPool", {"x": x}, outputs=2, kernel_shape=[3, 2], strides=[2, 2], **attributes)


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 5, 7), (2, 3, 4, 5, 6)])
def test_global_pools(op_type: str, shape: tuple[int, ...]) -> None:
    assert_node_agrees(op_type, {"x": array(*shape)})


def test_lp_pool() -> None:
    assert_node_agrees("LpPool", {"x": array(2, 3, 8, 8)}, kernel_shape=[3, 3], strides=[2, 2], p=3)


@pytest.mark.sample(3)
@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize(
    "window",
    [{}, {"pads": [1, 1, 1, 1]}, {"dilations": [2, 2]}, {"auto_pad": "SAME_UPPER", "ceil_mode": 0}],
    ids=str,
)
def test_pool_over_images_of_any_size(op_type: str, window: dict[str, Any]) -> None:
    """ceil_mode adds rows whose number depends on the size."""
    node = helper.make_node(op_type, ["x"], ["y"], **{"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, **window})
    sizes = [(7, 8), (8, 9), (6, 6), (10, 5)]
    inputs = [{"x": array(2, 3, *size) - 3} for size in sizes]
    assert_agrees(model_of([node], inputs[0], ["y"], opset=22, dynamic={"x": ["n", 3, "h", "w"]}), *inputs)


@pytest.mark.parametrize("read", [["y"], ["places"], ["y", "places"]], ids=str)
def test_each_subset_of_the_outputs_of_max_pool_can_be_read(read: list[str]) -> None:
    node = helper.make_node("MaxPool", ["x"], ["y", "places"], kernel_shape=[2, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    inputs = [{"x": array(2, 3, *size)} for size in ((6, 6), (5, 9))]
    assert_agrees(model_of([node], inputs[0], read, dynamic={"x": ["n", 3, "h", "w"]}), *inputs)


@pytest.mark.parametrize(("p", "dilation", "ceil"), [(1, 1, 1), (2, 2, 1), (3, 2, 0)])
def test_pads_add_nothing_to_the_sum_of_lp_pool(p: int, dilation: int, ceil: int) -> None:
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "dilations": [dilation] * 2, "ceil_mode": ceil, "pads": [1] * 4}
    assert_node_agrees("LpPool", {"x": array(2, 3, 7, 8)}, opset=22, p=p, **window)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_global_lp_pool(p: int) -> None:
    assert_node_agrees("GlobalLpPool", {"x": array(2, 3, 5, 7)}, p=p)


@pytest.mark.sample(3)
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("attributes", [{}, {"pads": [1] * 6, "strides": [2, 1, 2]}, {"auto_pad": "SAME_UPPER"}], ids=str)
@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
def test_pools_of_volumes_without_a_kernel_for_the_dtype(op_type: str, dtype: Any, attributes: dict[str, Any]) -> None:
    x = array(2, 3, 5, 6, 7).astype(dtype)
    node = helper.make_node(op_type, ["x"], ["y"], kernel_shape=[2, 3, 2], **attributes)
    dims = {"x": ["batch", 3, "depth", "height", 7]}
    got = native(model_of([node], {"x": x}, ["y"], dynamic=dims))(x=x)["y"].numpy()
    model = model_of([node], {"x": x.astype(np.float32)}, ["y"], dynamic=dims)
    want = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x.astype(np.float32)})[0]
    assert got.dtype == dtype
    np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-3)

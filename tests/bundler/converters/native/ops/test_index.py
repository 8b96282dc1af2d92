"""Slices without elements, scalars and blocks of one; the operators of this module run in tests/conformance."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.parser
import pytest

from bundler.values.arrays import Array
from tests.bundler.converters.native.oracle import native

SLICES = (0, 1, 3)


def converted(text: str) -> Any:
    return native(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]>\nslices {text}'))


def data(*shape: int) -> Array:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def assert_same(got: Any, want: Array) -> None:
    assert got.numpy().dtype == want.dtype
    assert got.shape == want.shape
    np.testing.assert_array_equal(got.numpy(), want)


@pytest.mark.parametrize("width", SLICES)
def test_rows_are_gathered(width: int) -> None:
    model = converted("(float[5,n] x, int64[2,1] i) => (float[2,n] y) { y = GatherND(x, i) }")
    x = data(5, width)
    assert_same(model(x=x, i=np.array([[4], [-2]]))["y"], x[[4, -2]])


@pytest.mark.parametrize("width", SLICES)
def test_slices_are_gathered_by_pairs_in_batches(width: int) -> None:
    model = converted(
        "(float[2,3,4,n] x, int64[2,5,2] i) => (float[2,5,n] y) { y = GatherND<batch_dims = 1>(x, i) }"
    )
    x = data(2, 3, 4, width)
    i = np.random.default_rng(0).integers(0, 3, (2, 5, 2))
    assert_same(model(x=x, i=i)["y"], np.stack([x[b][i[b, :, 0], i[b, :, 1]] for b in range(2)]))


@pytest.mark.parametrize("width", SLICES)
@pytest.mark.parametrize("reduction", ["none", "add", "max", "min", "mul"])
def test_rows_are_scattered(width: int, reduction: str) -> None:
    model = converted(
        "(float[5,n] x, int64[2,1] i, float[2,n] u) => (float[5,n] y) "
        f'{{ y = ScatterND<reduction = "{reduction}">(x, i, u) }}'
    )
    x, u, want = data(5, width), data(2, width) - 3, data(5, width)
    combine = {"none": lambda a, b: b, "add": np.add, "max": np.maximum, "min": np.minimum, "mul": np.multiply}[reduction]
    for row, update in zip((4, 0), u, strict=True):
        want[row] = combine(want[row], update)
    assert_same(model(x=x, i=np.array([[4], [0]]), u=u)["y"], want)


@pytest.mark.parametrize("width", SLICES)
def test_a_coordinate_outside_of_the_data_is_refused_unless_nothing_is_gathered(width: int) -> None:
    model = converted("(float[5,n] x, int64[2,1] i) => (float[2,n] y) { y = GatherND(x, i) }")
    call = {"x": data(5, width), "i": np.array([[7], [0]])}
    if width:
        with pytest.raises(Exception, match="does not index into param shape"):
            model(**call)
    else:
        assert model(**call)["y"].shape == (2, 0)


def test_the_largest_of_a_scalar_is_itself() -> None:
    model = converted("(float x) => (float y, int64 i) <int64[1] k = {1}> { y, i = TopK(x, k) }")
    got = model(x=np.float32(2.5))
    assert_same(got["y"], np.array(2.5, np.float32))
    assert_same(got["i"], np.array(0))


@pytest.mark.parametrize(("x", "count"), [(0.0, 0), (3.0, 1)])
def test_a_scalar_that_is_not_zero_is_counted_without_coordinates(x: float, count: int) -> None:
    model = converted("(float x) => (int64[m, n] y) { y = NonZero(x) }")
    assert_same(model(x=np.float32(x))["y"], np.zeros((0, count), np.int64))


@pytest.mark.parametrize("operator", ["DepthToSpace", "SpaceToDepth"])
def test_blocks_of_one_change_nothing(operator: str) -> None:
    model = converted(f"(float[n,2,3,3] x) => (float[n,2,3,3] y) {{ y = {operator}<blocksize = 1>(x) }}")
    assert_same(model(x=data(2, 2, 3, 3))["y"], data(2, 2, 3, 3))


@pytest.mark.parametrize("reduction", ["none", "add"])
def test_scalars_are_scattered_and_gathered_as_vectors_of_one_element(reduction: str) -> None:
    model = converted(
        f'(float x, int64 i, float u) => (float y, float z) {{ y = ScatterElements<reduction = "{reduction}">(x, i, u) '
        "z = GatherElements(x, i) }"
    )
    got = model(x=np.float32(2), i=np.int64(0), u=np.float32(3))
    assert_same(got["y"], np.array(5 if reduction == "add" else 3, np.float32))
    assert_same(got["z"], np.array(2, np.float32))

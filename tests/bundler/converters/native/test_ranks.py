from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from bundler.converters.native import ranks
from bundler.values.arrays import Array
from tests.bundler.converters.native.oracle import array

SHAPE = (2, 1, 3, 2, 3, 1, 2)


def traced(function: object, *inputs: Array, known: bool) -> tuple[tf.Tensor, Array]:
    """Return the symbolic result and the value of a function in a graph that knows all sizes, or none of them."""
    specs = [tf.TensorSpec(x.shape if known else [None] * x.ndim, x.dtype) for x in inputs]
    concrete = tf.function(function, autograph=False).get_concrete_function(*specs)
    return concrete.outputs[0], concrete(*map(tf.constant, inputs)).numpy()


@pytest.fixture(params=[True, False], ids=["known sizes", "sizes at run time"])
def known(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_around_merges_the_axes_before_and_after(known: bool) -> None:
    x = array(2, 3, 4, 5)
    symbolic, got = traced(lambda t: ranks.around(t, 2)[0], x, known=known)
    assert got.shape == (6, 4, 5)
    assert symbolic.shape.as_list() == ([6, 4, 5] if known else [None] * 3)


def test_sizes_of_zero_survive_merging(known: bool) -> None:
    x = array(2, 0, 3)
    _, got = traced(lambda t: ranks.reshaped(*ranks.rows(t)), x, known=known)
    assert got.shape == x.shape
    _, block = traced(lambda t: ranks.around(t, 1)[0], x, known=known)
    assert block.shape == (2, 0, 3)


def test_kept_and_reduced_is_a_matrix(known: bool) -> None:
    x = array(2, 3, 4, 5)
    _, got = traced(lambda t: ranks.kept_and_reduced(t, [1, 3])[0], x, known=known)
    np.testing.assert_array_equal(got, x.transpose(0, 2, 1, 3).reshape(8, 15))


def test_merged_keeps_the_axes_that_count() -> None:
    view, places, sizes = ranks.merged(tf.zeros([2, 3, 4, 5, 6]), [1, 2])
    assert (view.shape.as_list(), places, sizes) == ([2, 3, 4, 30], {1: 1, 2: 2}, [2, 3, 4, 5, 6])


@pytest.mark.parametrize("most", [3, 5, 8])
def test_by_axes_treats_every_axis_within_the_limit(most: int, known: bool) -> None:
    x = array(*SHAPE)

    def halve(view: tf.Tensor, places: dict[int, int]) -> tf.Tensor:
        assert view.shape.rank <= most
        for place in places.values():
            view = tf.repeat(view, 2, place)
        return view

    _, got = traced(lambda t: ranks.by_axes(t, [6, 0, 2, 3], halve, most), x, known=known)
    want = x
    for axis in (0, 2, 3, 6):
        want = want.repeat(2, axis)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("mode", ["CONSTANT", "REFLECT"])
def test_pads_of_many_axes(mode: str, known: bool) -> None:
    x = array(2, 3, 2, 3, 2, 3, 2)
    pairs = [[1, 0], [0, 2], [0, 0], [1, 1], [0, 1], [2, 0], [1, 1]]
    _, got = traced(lambda t: ranks.padded(t, pairs, "serving", mode), x, known=known)
    np.testing.assert_array_equal(got, np.pad(x, pairs, mode.lower()))  # type: ignore[call-overload]
    _, got = traced(lambda t, p: ranks.padded(t, p, "serving", mode), x, np.array(pairs, np.int32), known=known)
    np.testing.assert_array_equal(got, np.pad(x, pairs, mode.lower()))  # type: ignore[call-overload]


@pytest.mark.parametrize("rank", [7, 9])
def test_slices_of_many_axes(rank: int, known: bool) -> None:
    x = array(*(3,) * rank)
    slices = [slice(1, None), slice(None), slice(None, None, -1), slice(0, -1), slice(None, None, 2), *[slice(1, 3)] * (rank - 5)]
    _, got = traced(lambda t: ranks.sliced(t, slices, "serving"), x, known=known)
    np.testing.assert_array_equal(got, x[tuple(slices)])


@pytest.mark.parametrize("target", ["serving", "tflite"])
def test_products_of_stacks(target: str, known: bool) -> None:
    a, b = array(2, 1, 3, 1, 2, 4), array(4, 1, 3, 5, 4, seed=1)
    _, got = traced(lambda x, y: ranks.product(x, y, target, transpose_b=True), a, b, known=known)  # type: ignore[arg-type]
    np.testing.assert_allclose(got, a @ b.swapaxes(-1, -2), rtol=1e-5, atol=1e-5)


def test_concatenation_of_many_axes(known: bool) -> None:
    a, b = array(2, 1, 3, 1, 2, 4, 2), array(2, 1, 3, 5, 2, 4, 2, seed=1)
    _, got = traced(lambda x, y: ranks.concatenated([x, y], 3, "tflite"), a, b, known=known)
    np.testing.assert_array_equal(got, np.concatenate([a, b], 3))


@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("axes", [[0, 2, 4, 6], [1, 2, 3], [6]], ids=str)
def test_reductions_of_many_axes(axes: list[int], keepdims: bool, known: bool) -> None:
    x = array(2, 3, 2, 3, 2, 3, 2)
    _, got = traced(lambda t: ranks.reduced(tf.reduce_sum, t, axes, 5, keepdims=keepdims), x, known=known)
    np.testing.assert_allclose(got, x.sum(tuple(axes), keepdims=keepdims), rtol=1e-4)


def test_broadcast_adds_and_repeats_axes(known: bool) -> None:
    x, sizes = array(3, 1, 1, 2, 1, 4), [2, 3, 5, 1, 2, 3, 4]
    symbolic, got = traced(lambda t: ranks.broadcast_to(t, sizes), x, known=known)
    np.testing.assert_array_equal(got, np.broadcast_to(x, sizes))
    assert symbolic.shape.as_list() == sizes


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((2, 1, 3, 1, 2, 1, 3), (1, 4, 1, 2, 1, 3, 1)),
        ((2, 3, 4, 2, 3, 2), (1, 3, 1, 2, 1, 2)),
        ((2, 3, 4, 2, 3, 2), (4, 1, 3, 1)),
        ((2, 3, 4, 2, 3, 2), ()),
        ((2, 1, 0, 1, 2, 1), (1, 2, 1, 3, 1, 2)),
        ((2, 3, 1, 2, 3, 1, 2, 3, 1, 2), (2, 3, 1, 2, 3, 1, 2, 3, 1, 2)),
    ],
    ids=str,
)
def test_elementwise_operands_are_broadcast(first: tuple[int, ...], second: tuple[int, ...], known: bool) -> None:
    a, b = array(*first), array(*second, seed=1)
    symbolic, got = traced(lambda x, y: ranks.elementwise(tf.subtract, x, y), a, b, known=known)
    np.testing.assert_allclose(got, a - b)
    assert symbolic.shape.rank == got.ndim


def test_few_axes_are_left_alone() -> None:
    a, b = tf.zeros([2, 3, 4, 2, 3, 2]), tf.zeros([3, 2])
    operands, sizes = ranks.merged_operands([a, b, None], "serving")
    assert operands[0] is a
    assert operands[1] is b
    assert (operands[2], sizes) == (None, None)


def test_coordinates_become_one_number() -> None:
    data = array(2, 3, 4, 5)
    coordinates = np.array([[1, 2, 3], [0, 1, 0], [1, 0, 2]])
    flat, places = ranks.with_one_coordinate(tf.constant(data), tf.constant(coordinates))
    np.testing.assert_array_equal(tf.gather_nd(flat, places), data[tuple(coordinates.T)])


@pytest.mark.parametrize("outside", [[1, 3], [2, 0], [0, -1]], ids=str)
def test_a_coordinate_outside_of_its_axis_is_refused(outside: list[int]) -> None:
    flat, places = ranks.with_one_coordinate(tf.zeros([2, 3]), tf.constant([outside]))
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.gather_nd(flat, places)

"""The cache of tensors by graph, and transposes that are reshapes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from bundler.converters.native.tensors import TensorCache, transpose, transposing_at_most


def test_axes_of_size_one_move_without_a_transpose() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 1, 7])])
    def graph(x: tf.Tensor) -> tf.Tensor:
        return transpose(x, [0, 2, 1])

    concrete = graph.get_concrete_function()
    assert "Transpose" not in {n.op for n in concrete.graph.as_graph_def().node}
    assert graph(tf.zeros([3, 1, 7])).shape == (3, 7, 1)


def test_moving_axes_of_other_sizes_is_a_transpose() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 2, 7])])
    def graph(x: tf.Tensor) -> tf.Tensor:
        return transpose(x, [0, 2, 1])

    assert "Transpose" in {n.op for n in graph.get_concrete_function().graph.as_graph_def().node}


def test_a_cached_tensor_is_made_once_per_graph_and_seen_in_nested_graphs() -> None:
    cache: TensorCache[str] = TensorCache()
    calls = []

    def make() -> tf.Tensor:
        calls.append(tf.compat.v1.get_default_graph())
        return tf.constant(len(calls))

    with tf.Graph().as_default():
        outer = cache.get("key", make)
        with tf.__internal__.FuncGraph("inner").as_default():
            assert cache.get("key", make) is outer
            made_inside = cache.get("other", make)
        assert cache.get("other", make) is not made_inside
    assert len(calls) == 3


@pytest.mark.parametrize("permutation", [(7, 6, 5, 4, 3, 2, 1, 0), (0, 1, 5, 2, 6, 3, 7, 4), (1, 2, 3, 0, 4, 5, 6, 7)], ids=str)
def test_transpose_of_more_axes_than_the_kernel_takes(permutation: tuple[int, ...]) -> None:
    x = np.arange(2**4 * 3**4).reshape(2, 3, 2, 3, 2, 3, 2, 3)

    def moved(tensor: tf.Tensor) -> tf.Tensor:
        with transposing_at_most(6):
            return transpose(tensor, permutation)

    concrete = tf.function(moved, autograph=False).get_concrete_function(tf.TensorSpec(x.shape, x.dtype))
    ranks = [op.inputs[0].shape.rank for op in concrete.graph.get_operations() if op.type == "Transpose"]
    np.testing.assert_array_equal(concrete(tf.constant(x)).numpy(), x.transpose(permutation))
    assert ranks
    assert max(ranks) <= 6

"""Values: a tensor and its storage order."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from bundler.converters.native.dims import Dim
from bundler.converters.native.value import Value
from bundler.converters.native.weights import WeightStore

LAST = (0, 2, 3, 1)


def store() -> WeightStore:
    return WeightStore(constants_only=True)


def test_shape_and_tensor_are_in_onnx_order() -> None:
    data = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    value = Value.of(tf.constant(data.transpose(LAST)), store(), LAST)
    assert value.shape == (2, 3, 4, 5)
    assert value.stored.shape == (2, 4, 5, 3)
    np.testing.assert_array_equal(value.tensor.numpy(), data)


def test_each_order_is_made_once() -> None:
    value = Value.of(tf.zeros([2, 4, 5, 3]), store(), LAST)
    assert value.tensor is value.tensor
    assert value.in_order(LAST) is value.stored
    assert value.in_order((0, 1, 2, 3)) is value.tensor


def test_constants_are_moved_at_build_time() -> None:
    @tf.function
    def graph() -> tf.Tensor:
        value = Value.constant(np.ones((2, 3, 4, 5), np.float32), store())
        return value.in_order(LAST)

    concrete = graph.get_concrete_function()
    assert "Transpose" not in {n.op for n in concrete.graph.as_graph_def().node}
    assert concrete.outputs[0].shape == (2, 4, 5, 3)


def test_a_filling_is_made_in_any_order_without_a_transpose() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
    def graph(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        batch = Dim("batch", lambda: tf.shape(x, out_type=tf.int64)[0])
        value = Value.filled(np.array([2.5], np.float32), [batch, 3, 4, 5], store())
        assert (value.shape, value.rank, value.dtype) == ((None, 3, 4, 5), 4, tf.float32)
        assert value.has_any_order and not value.is_constant
        return value.in_order(LAST), value.tensor

    assert "Transpose" not in {n.op for n in graph.get_concrete_function().graph.as_graph_def().node}
    last, plain = graph(tf.zeros([2, 4]))
    np.testing.assert_array_equal(last.numpy(), np.full((2, 4, 5, 3), 2.5, np.float32))
    np.testing.assert_array_equal(plain.numpy(), np.full((2, 3, 4, 5), 2.5, np.float32))


def test_a_tensor_of_a_branch_is_not_used_outside_of_it() -> None:
    """A form of an outer value that one branch makes is made again in the next branch."""
    shared = store()

    @tf.function
    def graph(x: tf.Tensor, go: tf.Tensor) -> tf.Tensor:
        value = Value.of(x, shared, LAST)
        a = tf.cond(go, lambda: tf.reduce_sum(value.tensor), lambda: tf.reduce_max(value.tensor))
        return a + tf.reduce_min(value.tensor)

    x = np.arange(120, dtype=np.float32).reshape(2, 4, 5, 3)
    assert float(graph(tf.constant(x), tf.constant(True))) == x.sum()
    assert float(graph(tf.constant(x), tf.constant(False))) == x.max()


def test_symbolic_vectors_become_tensors_only_when_needed() -> None:
    batch = Dim("batch", lambda: tf.constant(7, tf.int64))
    value = Value.vector([batch, 3], store())
    assert value.is_symbolic
    assert value.elements == (batch, 3)
    assert value.shape == (2,)
    assert value.dtype == tf.int64
    assert value.tensor.numpy().tolist() == [7, 3]


def test_known_vectors_are_constants() -> None:
    value = Value.vector([2, 3], store())
    assert value.is_constant
    assert value.elements == (2, 3)
    assert Value.vector(5, store()).shape == ()
    assert Value.constant(np.zeros(3, np.float32), store()).elements is None

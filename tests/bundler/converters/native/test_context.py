"""The conversion as a handler sees it: dynamic sizes by name, and the error of a rejected node."""

from __future__ import annotations

import onnx_ir as ir
import pytest
import tensorflow as tf
from onnx import helper

from bundler.converters.native.context import Context
from bundler.converters.native.dims import Dim
from bundler.converters.native.value import Value
from bundler.converters.native.weights import WeightStore


@pytest.fixture
def context() -> Context:
    return Context(WeightStore(constants_only=True), 21, "serving")


def dynamic(context: Context, order: tuple[int, ...] | None = None) -> Value:
    """[batch, 3, length], where the sizes are 2 and 5 at run time."""
    tensor = tf.zeros([2, 5, 3]) if order else tf.zeros([2, 3, 5])
    value = context.value(tf.compat.v1.placeholder_with_default(tensor, [None, None, 3] if order else [None, 3, None]), order)
    value.dim_names = ("batch", None, "length")
    return value


def test_sizes_are_ints_where_they_are_known_and_named_dims_elsewhere(context: Context) -> None:
    with tf.Graph().as_default():
        value = dynamic(context)
        batch, channels, length = context.sizes(value)
        assert (batch, channels, length) == (context.dims["batch"], 3, context.dims["length"])
        assert context.dim(value, 0) is batch


@pytest.mark.parametrize("order", [None, (0, 2, 1)])
def test_a_dim_is_read_from_the_axis_that_stores_it(context: Context, order: tuple[int, ...] | None) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        length = context.dim(dynamic(context, order), 2)
        assert isinstance(length, Dim)
        assert session.run(length.tensor) == 5


def test_the_handlers_name_of_a_dim_wins_over_that_of_onnx(context: Context) -> None:
    with tf.Graph().as_default():
        value = dynamic(context)
        context.sizes(value)
        assert context.merge_dim_names(value, ("fresh", None, None)) == ("batch", None, "length")
        assert context.dims["fresh"] is context.dims["batch"]
        value.dim_names = None
        assert context.merge_dim_names(value, ("fresh", None, None)) == ("fresh", None, None)


def test_a_rejection_names_the_node_and_the_remedy(context: Context) -> None:
    context.node = ir.serde.deserialize_node(helper.make_node("Relu", ["x"], ["y"], name="the_node"))
    error = context.reject("Relu is tired.", "let it rest")
    assert error.what == "Relu is tired."
    assert "the_node" in str(error.where)
    assert error.fix == "let it rest"

"""The checks of input shapes in the graph, called as a model server calls it: by a session that checks no shape itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from onnx import TensorProto, helper
from tensorflow.core.protobuf import config_pb2

from bundler.converters.input_guards import shared_dims
from bundler.converters.native.model import NativeModel
from bundler.values.signature import TensorSpec
from tests.bundler.converters.native.oracle import native

Call = Callable[..., np.ndarray[Any, Any]]
Dims = Mapping[str, Sequence[int | str | None]]

ROWS: Sequence[int | str | None] = ("batch", 1, 8, 8)


def model(inputs: Dims, nodes: Sequence[Any], *, kind: int = TensorProto.FLOAT, rows: int = 64) -> NativeModel:
    """Return the model of a graph with an output `y` of shape [batch, rows]."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, kind, list(dims)) for name, dims in inputs.items()],
        [helper.make_tensor_value_info("y", kind, ["batch", rows])],
        [helper.make_tensor("rows", TensorProto.INT64, [2], [-1, rows])],
    )
    return native(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))


def flattening(
    dims: Sequence[int | str | None] = ROWS, *, rows: int = 64, kind: int = TensorProto.FLOAT
) -> NativeModel:
    """Return a model that answers y = reshape(x, [-1, rows])."""
    return model({"x": dims}, [helper.make_node("Reshape", ["x", "rows"], ["y"])], rows=rows, kind=kind)


def added(a: Sequence[int | str | None], b: Sequence[int | str | None]) -> NativeModel:
    """Return a model that answers y = reshape(a + b, [-1, 4])."""
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Reshape", ["sum", "rows"], ["y"])]
    return model({"a": a, "b": b}, nodes, rows=4)


def session_call(converted: NativeModel, folder: Path) -> Call:
    """Save the model and return serving_default as a call of a session that passes arrays of any shape on."""
    converted.save(folder)
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        signature = tf.compat.v1.saved_model.load(session, ["serve"], str(folder)).signature_def["serving_default"]
    feeds = [signature.inputs[name].name for name in converted.signature.input_names]
    options = config_pb2.CallableOptions(feed=feeds, fetch=[signature.outputs["y"].name])
    runner = session._make_callable_from_options(options)
    return lambda *arrays: np.asarray(runner(*arrays)[0])


def ones(*shape: int, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    return np.ones(shape, dtype)


def test_a_size_that_differs_from_a_fixed_dim_is_refused_by_the_graph(tmp_path: Path) -> None:
    call = session_call(flattening(), tmp_path)
    assert [call(ones(rows, 1, 8, 8)).shape for rows in (0, 1, 3)] == [(0, 64), (1, 64), (3, 64)]
    for shape in ((2, 1, 4, 8), (1, 2, 8, 8), (2, 1, 8, 4), (1, 64), (1, 8, 8), (2, 1, 8, 8, 1)):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=r"Shape of tensor \S*_x_\S* \[.*expected shape \[\?,1,8,8\]"
        ):
            call(ones(*shape))


def test_a_string_input_with_a_fixed_dim_is_checked(tmp_path: Path) -> None:
    call = session_call(flattening(("batch", 2), rows=2, kind=TensorProto.STRING), tmp_path)
    words = np.array([["a", "b"], ["c", "d"]], object)
    assert call(words).tolist() == [[b"a", b"b"], [b"c", b"d"]]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[1,4\] is not compatible with expected shape \[\?,2\]"):
        call(words.reshape(1, 4))


def test_dims_of_one_name_must_be_equal_across_inputs(tmp_path: Path) -> None:
    call = session_call(added(("batch", "wide"), ("batch", "wide")), tmp_path)
    assert call(ones(3, 4), ones(3, 4)).shape == (3, 4)
    rule = "Dims of one name must have the same size: batch is axis 0 of a and axis 0 of b; wide is axis 1 of a and axis 1 of b."
    for other in ((1, 4), (3, 1)):
        text = f"{rule} The shapes of a and b are] [3 4] [{other[0]} {other[1]}]"
        with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(text)):
            call(ones(3, 4), ones(*other))


def test_one_name_at_different_axes_must_have_one_size(tmp_path: Path) -> None:
    call = session_call(added(("batch", 4), (1, "batch")), tmp_path)
    assert call(ones(4, 4), ones(1, 4)).shape == (4, 4)
    text = "batch is axis 0 of a and axis 1 of b. The shapes of a and b are] [3 4] [1 4]"
    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(text)):
        call(ones(3, 4), ones(1, 4))


def test_three_inputs_with_the_same_dims_are_compared(tmp_path: Path) -> None:
    dims = dict.fromkeys("abc", ("batch", "wide"))
    nodes = [helper.make_node("Sum", ["a", "b", "c"], ["sum"]), helper.make_node("Reshape", ["sum", "rows"], ["y"])]
    call = session_call(model(dims, nodes, rows=4), tmp_path)
    assert call(ones(3, 4), ones(3, 4), ones(3, 4)).shape == (3, 4)
    for number in range(3):
        arrays = [ones(1, 4) if at == number else ones(3, 4) for at in range(3)]
        with pytest.raises(tf.errors.InvalidArgumentError, match="batch is axis 0 of a, axis 0 of b and axis 0 of c"):
            call(*arrays)


def test_dims_of_one_name_must_be_equal_within_an_input(tmp_path: Path) -> None:
    call = session_call(model({"x": ("n", "n")}, [helper.make_node("Reshape", ["x", "rows"], ["y"])], rows=4), tmp_path)
    assert call(ones(4, 4)).shape == (4, 4)
    text = "Dims of one name must have the same size: n is axis 0 of x and axis 1 of x. The shape of x is] [2 8]"
    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(text)):
        call(ones(2, 8))


def test_another_rank_of_an_input_with_shared_dims_is_refused_by_its_name(tmp_path: Path) -> None:
    call = session_call(added(("batch", "wide"), ("batch", "wide")), tmp_path)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"Shape of tensor \S*_b_\S* \[4\] is not compatible"):
        call(ones(3, 4), ones(4))


def test_dims_of_different_names_may_differ(tmp_path: Path) -> None:
    call = session_call(added(("batch", 4), ("other", 4)), tmp_path / "named")
    assert call(ones(3, 4), ones(1, 4)).shape == (3, 4)
    call = session_call(added(("batch", None), ("batch", None)), tmp_path / "without_names")
    assert call(ones(3, 4), ones(3, 1)).shape == (3, 4)


def ops(function: Any) -> set[str]:
    return {op.type for op in function.graph.get_operations()}


@pytest.mark.parametrize("dims", [("batch", "wide"), (None, None), ()])
def test_an_input_without_fixed_or_repeated_dims_is_not_checked(dims: Sequence[str | None]) -> None:
    converted = flattening(dims, rows=1)
    assert not ops(converted._functions["serving_default"]) & {"EnsureShape", "Assert"}


def test_a_function_for_tflite_has_no_checks() -> None:
    converted = added(("batch", 4), ("batch", 4))
    assert {"EnsureShape", "Assert"} <= ops(converted._functions["serving_default"])
    assert not ops(converted.static({"a": (1, 4), "b": (1, 4)})) & {"EnsureShape", "Assert"}


def test_shared_dims_are_those_with_a_name_that_occurs_more_than_once() -> None:
    specs = [TensorSpec("a", "int64", ("batch", "n", 3, "n")), TensorSpec("b", "int64", ("batch", None, 3, None))]
    assert [(dim.name, dim.places) for dim in shared_dims(specs)] == [
        ("batch", ((0, 0), (1, 0))),
        ("n", ((0, 1), (0, 3))),
    ]


def test_a_reshape_cannot_regroup_the_rows_that_the_graph_declares(tmp_path: Path) -> None:
    call = session_call(flattening(("batch", "seq", 8)), tmp_path)
    assert [call(ones(rows, 8, 8)).shape for rows in (0, 1, 3)] == [(0, 64), (1, 64), (3, 64)]
    for shape in ((2, 4, 8), (1, 16, 8), (8, 1, 8)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="Input to reshape is a tensor with"):
            call(ones(*shape))


def test_a_reshape_that_joins_rows_in_any_number_does_so_whatever_the_graph_declares(tmp_path: Path) -> None:
    call = session_call(flattening(("batch", "seq", 64)), tmp_path)
    assert call(ones(2, 3, 64)).shape == (6, 64)

"""What a Value is made from: each kind knows its dtype, rank and sizes before a tensor exists."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from bundler.converters.native.contents import Constant, Content, Filling, Flattened, Sizes, Stored
from bundler.converters.native.dims import Dim
from bundler.converters.native.weights import WeightStore

STORE = WeightStore(constants_only=True)
BATCH = Dim("batch", lambda: tf.constant(2, tf.int64))
KINDS: dict[str, tuple[Content, tf.DType, tuple[int | None, ...]]] = {
    "constant": (Constant(np.zeros((2, 3), np.float32)), tf.float32, (2, 3)),
    "text": (Constant(np.array(["a", "b"])), tf.string, (2,)),
    "vector": (Sizes((BATCH, 3), is_scalar=False), tf.int64, (2,)),
    "scalar": (Sizes((BATCH,), is_scalar=True), tf.int64, ()),
    "filling": (Filling(np.array(1.5, np.float32), (BATCH, 3)), tf.float32, (None, 3)),
    "flattened": (Flattened(tf.zeros([8, 3], tf.float16), (BATCH, 4, 3)), tf.float16, (None, 4, 3)),
    "stored": (Stored(tf.zeros([2, 5], tf.int8)), tf.int8, (2, 5)),
}


@pytest.mark.parametrize(("content", "dtype", "sizes"), KINDS.values(), ids=KINDS)
def test_dtype_and_sizes_are_those_of_the_tensor(content: Content, dtype: tf.DType, sizes: tuple[int | None, ...]) -> None:
    assert content.dtype == dtype
    assert content.rank == len(sizes)
    assert tuple(content.stored_sizes) == sizes
    tensor = content.stored(STORE, "")
    assert tensor.dtype == dtype
    assert tensor.shape == tuple(2 if size is None else size for size in sizes)


def test_only_constants_and_fillings_have_any_order() -> None:
    assert {kind for kind, (content, *_) in KINDS.items() if content.has_any_order} == {"constant", "text", "filling"}
    array = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(Constant(array).in_order((1, 0), STORE, ""), array.T)
    assert KINDS["filling"][0].in_order((1, 0), STORE, "").shape == (3, 2)
    assert KINDS["stored"][0].in_order((1, 0), STORE, "") is None


def test_only_short_integer_vectors_have_elements() -> None:
    assert Constant(np.array([3, 4])).elements == (3, 4)
    assert Constant(np.array(3)).elements == (3,)
    assert Constant(np.array([3.0])).elements is None
    assert Constant(np.zeros(65, np.int64)).elements is None
    assert KINDS["vector"][0].elements == (BATCH, 3)


def test_a_sequence_is_not_a_tensor() -> None:
    with pytest.raises(ValueError, match="a sequence or an optional is given where a tensor is needed"):
        Content().stored(STORE, "")

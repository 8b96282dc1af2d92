"""The adapter that makes a mask from token ids."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from bundler.adapters.adapter import AdapterCall
from bundler.adapters.mask import MaskAdapter
from bundler.errors import UsageError
from bundler.spec.signature_spec import MaskSpec
from bundler.values.signature import TensorSpec

IDS, MASK, TYPES = (
    TensorSpec(name, dtype, ("batch", "tokens"))
    for name, dtype in (("input_ids", "int64"), ("attention_mask", "int32"), ("token_type_ids", "int64"))
)
ROWS = [
    ([101, 7, 8, 102], [1, 1, 1, 1]),
    ([101, 7, 102, 0], [1, 1, 1, 0]),
    ([101, 7, 102, 101], [1, 1, 1, 0]),
    ([101, 102, 0, 101], [1, 1, 0, 0]),
    ([101, 0, 101, 102], [1, 1, 1, 1]),
    ([101, 101, 101, 101], [1, 0, 0, 0]),
    ([0, 0, 0, 0], [1, 0, 0, 0]),
]
"""Ids and masks: padded by a client with 0, by the server with the first id, by both. Only what ends a row is padding."""


def test_padding_at_the_end_does_not_count() -> None:
    adapter = MaskAdapter("s", (IDS, MASK, TYPES), MaskSpec())
    assert adapter.inputs == (IDS,)
    ids = np.array([row for row, _ in ROWS])
    for made in (adapter({"input_ids": tf.constant(ids)}), tf.function(adapter)({"input_ids": tf.constant(ids)})):
        assert made["attention_mask"].numpy().tolist() == [mask for _, mask in ROWS]
        assert made["attention_mask"].dtype == tf.int32
        assert made["token_type_ids"].numpy().tolist() == [[0] * 4] * len(ROWS)
        np.testing.assert_array_equal(made["input_ids"], ids)


def test_calls_have_padded_rows_and_the_mask_of_an_independent_rule() -> None:
    adapter = MaskAdapter("s", (IDS, MASK), MaskSpec(pad_id=9))
    ids = np.array([[1, 2, 3, 4, 5, 6]] * 3)
    base = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    (call,) = adapter.calls([AdapterCall("c", base, base)])
    assert call.inputs["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 9, 9], [1, 2, 3, 4, 5, 6]]
    assert call.base_inputs["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 1, 0, 0], [1] * 6]
    assert ids[1, 4] == 5, "the base call keeps its ids"
    made = adapter({name: tf.constant(array) for name, array in call.inputs.items()})
    np.testing.assert_array_equal(made["attention_mask"], call.base_inputs["attention_mask"])


def test_empty_rows_have_an_empty_mask() -> None:
    adapter = MaskAdapter("s", (IDS, MASK), MaskSpec())
    for shape in ((0, 4), (2, 0)):
        assert adapter({"input_ids": tf.zeros(shape, tf.int64)})["attention_mask"].shape == shape


@pytest.mark.parametrize(
    ("inputs", "spec", "message"),
    [
        ((IDS,), MaskSpec(), "signatures.s.mask.mask: the input 'attention_mask' does not exist"),
        ((MASK,), MaskSpec(), "signatures.s.mask.ids: the input 'input_ids' does not exist"),
        ((TensorSpec("x", "float32", ("batch", 4)), MASK), MaskSpec(ids="x"), r"'x' is x=float32\[batch,4\]; it has to be"),
        ((IDS, TensorSpec("attention_mask", "int64", ("batch", 8))), MaskSpec(), "has other sizes than input_ids"),
    ],
)
def test_inputs_that_do_not_fit_are_named(inputs: tuple[TensorSpec, ...], spec: MaskSpec, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MaskAdapter("s", inputs, spec)

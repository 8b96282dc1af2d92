"""The adapter for serialized tf.Examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bundler.adapters.adapter import AdapterCall
from bundler.adapters.examples import ExamplesAdapter
from bundler.errors import UsageError
from bundler.spec.signature_spec import ExamplesSpec
from bundler.values.signature import TensorSpec

INPUTS = (
    TensorSpec("price", "float32", ("batch", 2)),
    TensorSpec("open", "bool", ("batch",)),
    TensorSpec("ids", "int32", ("batch", "seq")),
    TensorSpec("name", "string", ("batch",)),
)


def call(**inputs: Any) -> AdapterCall:
    return AdapterCall("example", inputs, inputs)


def test_examples_are_parsed_into_the_base_inputs() -> None:
    inputs = {
        "price": np.array([[1.5, 2], [3, 4]], np.float32),
        "open": np.array([True, False]),
        "ids": np.array([[1, 2, 3], [4, 5, 6]], np.int32),
        "name": np.array([b"a\0", "b"], object),
    }
    adapter = ExamplesAdapter("s", INPUTS, ExamplesSpec())
    (built,) = adapter.calls([call(**inputs)])
    assert list(built.inputs) == ["inputs"]
    parsed = {name: tensor.numpy() for name, tensor in adapter(built.inputs).items()}
    assert parsed.pop("name").tolist() == [b"a\0", b"b"]
    for name, array in parsed.items():
        assert array.dtype == inputs[name].dtype
        np.testing.assert_array_equal(array, inputs[name])


def test_an_int64_feature_truncates_a_float_input() -> None:
    spec = ExamplesSpec(features={"price": "cents=int64[2]"})
    adapter = ExamplesAdapter("s", INPUTS[:1], spec)
    (built,) = adapter.calls([call(price=np.array([[1.7, -1.7]], np.float32))])
    assert built.base_inputs["price"].tolist() == [[1, -1]]
    np.testing.assert_array_equal(adapter(built.inputs)["price"], built.base_inputs["price"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("x=float32[batch,2,n]", "only the first dim after the batch may be dynamic"),
        ("x=complex64[batch]", "which cannot hold complex64"),
        ("x=float32[3]", "the first dim .* is not a dynamic batch"),
    ],
)
def test_inputs_that_cannot_be_features_are_rejected(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ExamplesAdapter("s", (TensorSpec.parse(spec),), ExamplesSpec())

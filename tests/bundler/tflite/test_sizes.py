"""Static sizes of a file's signatures."""

from __future__ import annotations

import numpy as np
import pytest

from bundler.errors import UsageError
from bundler.spec.bundle_spec import TfliteSpec
from bundler.tflite.sizes import signature_sizes, static_shapes, static_sizes
from bundler.values.signature import Signature, TensorSpec

SIGNATURE = Signature((TensorSpec("ids", "int64", ("batch", "seq")), TensorSpec("table", "float32", (None, 4))), ())
EXAMPLES = {"ids": np.zeros((2, 10), np.int64), "table": np.zeros((7, 4), np.float32)}


def test_batch_is_one_and_other_dims_are_the_examples_unless_the_spec_sets_them() -> None:
    assert static_sizes(SIGNATURE, EXAMPLES, TfliteSpec()) == {"batch": 1, "seq": 10}
    assert static_sizes(SIGNATURE, EXAMPLES, TfliteSpec(batch=3, dims={"seq": 6})) == {"batch": 3, "seq": 6}
    assert static_sizes(SIGNATURE, EXAMPLES, TfliteSpec(batch=3, dims={"batch": 5}))["batch"] == 5


def test_shapes_override_some_sizes_of_serving_default() -> None:
    sizes = signature_sizes(SIGNATURE, EXAMPLES, TfliteSpec(dims={"seq": 6}, shapes={"pair": {"batch": 2}}))
    assert sizes == {"serving_default": {"batch": 1, "seq": 6}, "pair": {"batch": 2, "seq": 6}}
    with pytest.raises(UsageError, match=r"tflite\.shapes\.pair names 'width', which is not a dynamic dim"):
        signature_sizes(SIGNATURE, EXAMPLES, TfliteSpec(shapes={"pair": {"width": 2}}))


def test_unnamed_dynamic_dims_have_the_examples_size() -> None:
    assert static_shapes(SIGNATURE, EXAMPLES, {"batch": 1, "seq": 6}) == {"ids": (1, 6), "table": (7, 4)}

"""Several inputs that TensorFlow Serving resizes one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bundler.tflite.deferral import defer_preparation
from serving.protocol.status import StatusError
from serving.server.servables.interpreters import Interpreter


@pytest.fixture(scope="module")
def product_and_sum() -> bytes:
    """A file that computes x @ w + y for x [-1, 4] and y [-1, 3]."""
    import tensorflow as tf

    weight = tf.constant(np.arange(12, dtype=np.float32).reshape(4, 3))

    def compute(x: Any, y: Any) -> dict[str, Any]:
        return {"out": tf.nn.relu(tf.matmul(x, weight) + y)}

    specs = [tf.TensorSpec([None, size], tf.float32, name=name) for size, name in ((4, "x"), (3, "y"))]
    function = tf.function(compute).get_concrete_function(*specs)
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module()).convert())


def answers(file: bytes, sizes: tuple[int, ...]) -> None:
    """Run calls with these numbers of rows, one after the other, and compare each result."""
    interpreter = Interpreter(file, 1)
    ids = {tensor.name.split("_")[-1].split(":")[0]: tensor.index for tensor in interpreter.inputs}
    for rows in sizes:
        rng = np.random.default_rng(rows)
        x, y = (rng.normal(size=(rows, size)).astype(np.float32) for size in (4, 3))
        (got,) = interpreter.run({ids["x"]: x, ids["y"]: y}, [interpreter.outputs[0].index])
        want = np.maximum(x @ np.arange(12, dtype=np.float32).reshape(4, 3) + y, 0)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_file_is_right_after_each_resize(product_and_sum: bytes) -> None:
    answers(defer_preparation(product_and_sum), (1, 2, 5, 5, 3, 1))


def test_file_as_converted_cannot_be_resized_input_by_input(product_and_sum: bytes) -> None:
    with pytest.raises(StatusError, match="Failed to allocate tensors"):
        answers(product_and_sum, (2, 5))


def test_operators_that_xnnpack_runs_stay_in_one_partition(product_and_sum: bytes, tmp_path: Any) -> None:
    from bundler.tflite.delegation import delegation

    path = tmp_path / "deferred.tflite"
    path.write_bytes(defer_preparation(product_and_sum))
    found = delegation(path)
    assert (found.nodes - found.delegated, found.partitions) == (3, 1), str(found)
    assert set(found.left) == {"SHAPE", "EQUAL", "WHERE"}

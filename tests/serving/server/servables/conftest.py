from __future__ import annotations

import pytest
import tensorflow as tf


@pytest.fixture(scope="module")
def content() -> bytes:
    """x float32 [?, 4] -> 2x + 1, with no SignatureDef."""
    function = tf.function(lambda x: tf.matmul(x, 2 * tf.eye(4)) + 1)
    concrete = function.get_concrete_function(tf.TensorSpec([None, 4], tf.float32, name="x"))
    file_content: bytes = tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()
    return file_content

"""tf.Examples in JSON bodies. The recordings in tests/serving/server cover the rest."""

from __future__ import annotations

from serving.protocol.json_examples import read_examples
from serving.protocol.messages import serving_message


def test_the_last_of_repeated_features_counts() -> None:
    request = serving_message("ClassificationRequest")()
    assert read_examples(b'{"examples": [{"x": [1.5, 2.5], "x": [3.5, 1e-40], "y\\u0000z": 1}]}', request.input) == ""
    (example,) = request.input.example_list.examples
    assert list(example.features.feature["x"].float_list.value) == [3.5, 0.0]
    assert list(example.features.feature["y"].int64_list.value) == [1]

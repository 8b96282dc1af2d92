"""tf.Examples from features by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from serving.client.examples import classes_as_outputs, to_json, to_message
from serving.errors import ProtocolError, TensorError


@pytest.mark.parametrize(
    ("values", "kind", "held"),
    [
        ([1, 2], "int64_list", [1, 2]),
        (True, "int64_list", [1]),
        ([[1.5, 2.0]], "float_list", [1.5, 2.0]),
        (np.array([3], np.float16), "float_list", [3.0]),
        ("ü", "bytes_list", ["ü".encode()]),
        ([b"ends in\0", "text"], "bytes_list", [b"ends in\0", b"text"]),
        (b"\xff\0", "bytes_list", [b"\xff\0"]),
    ],
)
def test_a_feature_is_the_list_of_its_values(values: Any, kind: str, held: list[Any]) -> None:
    feature = to_message({"x": values}).features.feature["x"]
    assert feature.WhichOneof("kind") == kind
    assert list(getattr(feature, kind).value) == held


def test_a_serialized_example_is_kept() -> None:
    proto = to_message({"x": [1.0], "name": "a\0"})
    assert to_message(proto.SerializeToString()) == proto
    assert to_json(proto) == {"x": [1.0], "name": [{"b64": "YQA="}]}


@pytest.mark.parametrize("example", [{"x": [1j]}, {"x": [None]}, {"x": ["a", 1]}, b"\xff"])
def test_values_that_no_feature_can_hold_are_an_error(example: Any) -> None:
    with pytest.raises(TensorError, match=r"tf\.Example"):
        to_message(example)


def test_classes_of_examples_that_differ_in_number_are_an_error() -> None:
    assert classes_as_outputs([[("a", 0.5)], [("b", 1.0)]])["classes"].tolist() == [["a"], ["b"]]
    assert classes_as_outputs([])["classes"].size == 0
    with pytest.raises(ProtocolError, match="1 classes for one example and 2"):
        classes_as_outputs([[("a", 0.5)], [("a", 0.5), ("b", 0.5)]])

"""Names of a file's layers."""

from __future__ import annotations

import pytest

from bundler.errors import UsageError
from bundler.tflite.layers import Names, listed, matching_layers

NAMES = Names({"node_conv": ("features.0", "features.1"), "node_relu": ("features.2",), "node_fc": ("head",)}, ["node_fc"])


def test_layers_are_named_after_modules() -> None:
    named = NAMES.layers(
        [("node_relu/Relu;node_conv/Conv2D;node_conv/Const", "CONV_2D"), ("StatefulPartitionedCall:0", "FULLY_CONNECTED"),
         ("StatefulPartitionedCall_1:0", "FULLY_CONNECTED"), ("other", "ADD"), ("other1", "ADD")]
    )  # fmt: skip
    assert [str(layer) for layer in named] == ["features.0 (CONV_2D)", "head (FULLY_CONNECTED)", "other (ADD)", "other1 (ADD)"]
    assert named[0].modules == ("features.0", "features.1", "features.2")
    assert named[1].tensors == ("StatefulPartitionedCall:0", "StatefulPartitionedCall_1:0")  # two signatures
    for pattern, count in (("features", 1), ("features.2", 1), ("feat*", 1), ("CONV_2D", 1), ("node_*", 2), ("ADD", 2), ("*", 4)):
        assert len(matching_layers(named, (pattern,))) == count, pattern
    with pytest.raises(UsageError, match=r"matches 'feature'(.|\n)*features\.0, head, other"):
        matching_layers(named, ("head", "feature"))


def test_long_lists_are_shortened() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcdefghij")) == "a, b, c, d, e, f, g, h and 2 more"

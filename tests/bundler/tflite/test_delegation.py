"""The nodes that a delegate's partition replaces."""

from __future__ import annotations

from bundler.tflite.delegation import Delegation, _partition_nodes


def test_partition_has_all_nodes_between_its_inputs_and_outputs() -> None:
    nodes = [
        {"inputs": [0], "outputs": [1]},
        {"inputs": [1, 9], "outputs": [2]},
        {"inputs": [2], "outputs": [3]},
        {"inputs": [2, 3], "outputs": [4]},
        {"inputs": [4], "outputs": [5]},
    ]
    assert _partition_nodes({"inputs": [1, 9], "outputs": [4]}, nodes) == {1, 2, 3}


def test_share_and_text_name_what_is_not_delegated() -> None:
    partial = Delegation(nodes=4, delegated=3, partitions=1, left={"ARG_MAX": 1})
    assert (partial.share, str(partial)) == (0.75, "XNNPACK runs 3 of 4 nodes in 1 partition; not 1 ARG_MAX")
    assert Delegation(0, 0, 0, {}).share == 1

"""The graph of a SavedModel: counted operators, names and method names, and damaged files."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.errors import ConversionError
from bundler.saved_model.summarize import input_names, methods, products, signature_def, summarize
from serving.protocol.messages import message


def test_operators_are_counted_without_bookkeeping_and_calls(saved: Path) -> None:
    graph = summarize(saved)
    assert graph.ops["Conv2D"] == 1
    assert not {"Const", "Identity", "ReadVariableOp", "StatefulPartitionedCall"} & set(graph.ops)
    assert graph.transposes == graph.ops["Transpose"] == 2, "of the image and of the kernel"
    assert graph.nodes == sum(graph.ops.values())
    assert graph.weight_bytes > 0
    assert graph.to_json()["nodes"] == graph.nodes


def test_names_and_methods_are_read_without_tensorflow(saved: Path) -> None:
    assert input_names(saved) == {"image", "ids"}
    assert methods(saved) == {
        "serving_default": "tensorflow/serving/predict", "__saved_model_init_op": "",
    }  # fmt: skip
    assert set(signature_def(saved, "serving_default").outputs) == {"logits", "label"}


def test_products_are_counted_by_the_type_that_they_compute_in(saved: Path) -> None:
    graph = message("tensorflow.SavedModel").FromString((saved / "saved_model.pb").read_bytes()).meta_graphs[0]
    assert products(graph)["float32"] >= 1
    for function in graph.graph_def.library.function:
        for node in function.node_def:
            if node.op == "Conv2D":
                node.attr["T"].type = 14
    assert products(graph)["bfloat16"] == 1


def test_a_missing_or_damaged_file_or_signature_is_reported(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="does not contain a SavedModel"):
        summarize(tmp_path)
    with pytest.raises(ConversionError, match="has no signature 'other'"):
        summarize(saved, "other")
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff\xff")
    with pytest.raises(ConversionError, match="is damaged"):
        summarize(tmp_path)

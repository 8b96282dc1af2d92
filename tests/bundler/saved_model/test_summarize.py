"""The graph of a SavedModel: counted operators, names and method names, and damaged files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundler.errors import ConversionError
from bundler.saved_model.summarize import described, input_names, methods, products, signature_def, summarize
from serving.protocol.messages import message
from serving.protocol.tensors import to_proto


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


def add_const(nodes: Any, name: str, value: Any) -> None:
    nodes.add(name=name, op="Const").attr["value"].tensor.CopyFrom(to_proto(value))


@pytest.fixture
def weighted(tmp_path: Path) -> Path:
    """Return a SavedModel with a variable of 4 x 3 float32, and a constant of 5 float16 in a function that is called twice."""
    model = message("tensorflow.SavedModel")()
    graph = model.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    nodes = graph.graph_def.node
    variable = nodes.add(name="kernel", op="VarHandleOp")
    variable.attr["dtype"].type = 1
    for size in (4, 3):
        variable.attr["shape"].shape.dim.add(size=size)
    add_const(nodes, "axes", np.array([0, 1], np.int32))
    add_const(nodes, "names", np.array([b"a long text"], object))
    add_const(nodes, "unused", np.zeros(100, np.float32))
    for name in ("first", "second"):
        call = nodes.add(name=name, op="PartitionedCall", input=["kernel", "axes", "names"])
        call.attr["f"].func.name = "body"
        graph.signature_def[name].outputs["y"].name = f"{name}:0"
    body = graph.graph_def.library.function.add()
    body.signature.name = "body"
    splat = body.node_def.add(name="bias", op="Const").attr["value"].tensor
    splat.dtype = 19
    splat.half_val.append(0)  # one value for all five
    splat.tensor_shape.dim.add(size=5)
    body.node_def.add(name="again", op="While").attr["body"].func.name = "body"
    (tmp_path / "saved_model.pb").write_bytes(model.SerializeToString())
    return tmp_path


def test_weights_are_variables_and_constants_that_a_signature_uses(weighted: Path) -> None:
    (weighted / "variables").mkdir()
    (weighted / "variables" / "variables.data-00000-of-00001").write_bytes(b"x" * 999)
    assert summarize(weighted, "first").weight_bytes == 4 * 3 * 4 + 5 * 2


def test_weights_of_a_small_model_are_counted_although_they_are_constants(small_bundle: Path) -> None:
    graph = summarize(small_bundle / "models" / "mlp" / "1")
    assert graph.weight_bytes == 4 * (4 * 8 + 8 + 8 * 3 + 3)


def test_variable_without_a_size_counts_nothing(weighted: Path) -> None:
    model = message("tensorflow.SavedModel").FromString((weighted / "saved_model.pb").read_bytes())
    variable = model.meta_graphs[0].graph_def.node[0]
    variable.attr["shape"].shape.dim[0].size = -1
    (weighted / "saved_model.pb").write_bytes(model.SerializeToString())
    assert summarize(weighted, "first").weight_bytes == 5 * 2
    variable.attr["shape"].shape.unknown_rank = True
    (weighted / "saved_model.pb").write_bytes(model.SerializeToString())
    assert summarize(weighted, "first").weight_bytes == 5 * 2


def test_signatures_and_graph_come_from_one_reading(weighted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path) or original(path))
    signatures, _, graph = described(weighted)
    assert list(signatures) == ["first", "second"] and graph == summarize(weighted, "first")
    assert reads == [weighted / "saved_model.pb"] * 2, "one for each of the two calls above"


def test_saved_model_without_a_signature_has_no_summary(tmp_path: Path) -> None:
    model = message("tensorflow.SavedModel")()
    model.meta_graphs.add().meta_info_def.tags.append("serve")
    (tmp_path / "saved_model.pb").write_bytes(model.SerializeToString())
    assert described(tmp_path) == ({}, {}, None)

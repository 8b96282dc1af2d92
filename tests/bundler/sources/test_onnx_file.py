"""`.onnx` files keep the names and dims of the graph, and run in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bundler.errors import SourceError, UsageError
from bundler.values.signature import TensorSpec
from tests.bundler.sources.conftest import Load


def write_onnx(path: Path, *, external: bool = False) -> None:
    """`ids` int64 [N, ?] -> rows of a table of 7, float32 [N, ?, 4]."""
    table = numpy_helper.from_array(np.arange(28, dtype=np.float32).reshape(7, 4), "table")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["rows"], "lookup", axis=0)],
        "lookup",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", None])],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", None, 4])],
        [table],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path, save_as_external_data=external, location="weights.bin", size_threshold=0)


def test_names_dims_and_range_of_integers_come_from_the_graph(load_source: Load, folder: Path) -> None:
    write_onnx(folder / "m.onnx")
    loaded = load_source("m.onnx")
    assert loaded.module is None and loaded.onnx == folder / "m.onnx"
    assert loaded.input_specs == (TensorSpec("ids", "int64", ("N", None)),)
    assert loaded.example_inputs["ids"].max() == 6 and loaded.example_inputs["ids"].min() == 0
    assert loaded.provenance["opset"] == 17


def test_external_weights_are_read_from_the_same_folder(load_source: Load, folder: Path) -> None:
    write_onnx(folder / "m.onnx", external=True)
    assert load_source("m.onnx").onnx == folder / "m.onnx"
    (folder / "weights.bin").unlink()
    with pytest.raises(SourceError, match=r"is in 'weights\.bin', which is missing"):
        load_source("m.onnx")


def test_dims_may_be_named_or_fixed(load_source: Load, folder: Path) -> None:
    write_onnx(folder / "m.onnx")
    assert load_source("m.onnx", inputs=("ids=int64[batch,5]",)).input_specs[0].dims == ("batch", 5)


@pytest.mark.parametrize(
    ("option", "what"),
    [
        ("ids=int32[N,5]", "contradicts the graph"),
        ("ids=int64[N]", "contradicts the graph"),
        ("words=int64[N,5]", "no input 'words'"),
    ],
)
def test_contradicting_input_is_an_error(load_source: Load, folder: Path, option: str, what: str) -> None:
    write_onnx(folder / "m.onnx")
    with pytest.raises(UsageError, match=what):
        load_source("m.onnx", inputs=(option,))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.95])
def test_truncated_file_is_an_error(load_source: Load, folder: Path, share: float) -> None:
    write_onnx(folder / "m.onnx")
    data = (folder / "m.onnx").read_bytes()
    (folder / "m.onnx").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SourceError) as caught:
        load_source("m.onnx")
    assert caught.value.where == str(folder / "m.onnx") and caught.value.exit_code == 1


def test_file_of_another_kind_is_an_error(load_source: Load, folder: Path) -> None:
    (folder / "m.onnx").write_bytes(b"this is text, not a protobuf")
    with pytest.raises(SourceError, match="not an ONNX file"):
        load_source("m.onnx")


def test_graph_that_onnx_runtime_rejects_is_an_error(load_source: Load, folder: Path) -> None:
    write_onnx(folder / "m.onnx")
    model = onnx.load(folder / "m.onnx")
    model.graph.node[0].input[0] = "gone"
    onnx.save(model, folder / "m.onnx")
    with pytest.raises(SourceError, match="gone"):
        load_source("m.onnx")

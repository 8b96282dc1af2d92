"""An exported file and its external data are moved together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bundler.graph.external_data import move_with_data
from bundler.values.portable_paths import PortablePaths
from tests.bundler.converters.native.oracle import array, model_of

WEIGHT = array(4, 3, seed=1)


def save(path: Path, *, external: bool) -> Path:
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = model_of(nodes, {"x": array(2, 4)}, ["y"], {"w": WEIGHT}, opset=21)
    onnx.save(model, path, save_as_external_data=external, location="weights.bin", size_threshold=0)
    return path


@pytest.mark.parametrize("external", [False, True])
def test_file_is_moved_with_its_data(tmp_path: Path, external: bool) -> None:
    source, target = save(tmp_path / "m.onnx", external=external), tmp_path / "onnx" / "1.onnx"
    assert move_with_data(source, target, PortablePaths(tmp_path)) == 21
    (weight,) = onnx.load(target).graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(weight), WEIGHT)
    assert (tmp_path / "onnx" / "1.onnx.data").exists() == external
    assert not (tmp_path / "weights.bin").exists()


@pytest.mark.parametrize("external", [False, True])
def test_paths_in_descriptions_and_metadata_are_shortened(tmp_path: Path, external: bool) -> None:
    source, target = save(tmp_path / "m.onnx", external=external), tmp_path / "onnx" / "1.onnx"
    script = tmp_path / "net.py"
    script.write_text("")
    model = onnx.load(source, load_external_data=False)
    model.doc_string = f"from {script}"
    node = model.graph.node[0]
    node.doc_string = f'File "{script}", line 3'
    node.metadata_props.add(key="stack", value=f'File "{script}", line 3, in forward\n  return /layer/MatMul')
    branch = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["z"], doc_string=str(script))], "g", [], [])
    node.attribute.add(name="body", type=onnx.AttributeProto.GRAPH).g.CopyFrom(branch)
    source.write_bytes(model.SerializeToString())
    move_with_data(source, target, PortablePaths(tmp_path))
    moved = onnx.load(target, load_external_data=False)
    assert str(tmp_path).encode() not in target.read_bytes()
    assert moved.doc_string == "from net.py" and moved.graph.node[0].attribute[0].g.node[0].doc_string == "net.py"
    assert moved.graph.node[0].metadata_props[0].value == 'File "net.py", line 3, in forward\n  return /layer/MatMul'

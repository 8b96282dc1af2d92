"""What decides about an .onnx file: ONNX Runtime, ONNX Runtime without optimizations, onnx.reference, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import bundler
from bundler.errors import ParityError, SourceError
from bundler.graph import witness
from bundler.graph.onnx_runtime import OnnxModel
from bundler.graph.reference_worker import pack, unpack
from bundler.graph.witness import ONNX_REFERENCE, ONNX_RUNTIME, PLAIN_ONNX_RUNTIME, ReferenceModel, find_witness
from tests.bundler.cli.commands import run


def save(path: Path, nodes: list[Any], kind: int = TensorProto.FLOAT, opset: int = 17, dims: Any = ("n", 3)) -> Path:
    x, y = (helper.make_tensor_value_info(name, kind, shape) for name, shape in (("x", dims), ("y", None)))
    graph = helper.make_graph(nodes, "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), str(path))
    return path


X = np.array([[-1, 2, 3], [4, -5, 6]], np.float32)


def test_onnx_runtime_is_asked_first(tmp_path: Path) -> None:
    found, outputs = find_witness(save(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])]), {"x": X})
    assert (found.referee.name, found.referee.reason) == (ONNX_RUNTIME, None)
    np.testing.assert_array_equal(outputs["y"], np.maximum(X, 0))


def test_a_fault_of_an_optimization_is_avoided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(path: Path) -> Any:
        raise ParityError("ONNX Runtime failed: a fused kernel.")

    monkeypatch.setitem(witness.WITNESSES, ONNX_RUNTIME, stops)
    found, outputs = find_witness(save(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])]), {"x": X})
    assert (found.referee.name, found.referee.reason) == (PLAIN_ONNX_RUNTIME, "ONNX Runtime failed: a fused kernel.")
    np.testing.assert_array_equal(outputs["y"], np.maximum(X, 0))


def bfloat16_model(folder: Path) -> Path:
    return save(folder / "half.onnx", [helper.make_node("Neg", ["x"], ["y"], name="é")], TensorProto.BFLOAT16)


def test_bfloat16_is_left_to_onnx_reference(tmp_path: Path) -> None:
    values = X.astype(ml_dtypes.bfloat16)
    found, outputs = find_witness(bfloat16_model(tmp_path), {"x": values})
    assert found.referee.name == ONNX_REFERENCE
    reason = "ONNX Runtime has no kernel: Could not find an implementation for Neg(13) node with name 'é'"
    assert reason in str(found.referee.reason)
    assert outputs["y"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(outputs["y"], -values)


@pytest.mark.slow
def test_a_build_says_that_onnx_reference_decided(tmp_path: Path) -> None:
    out = tmp_path / "b"
    built = run("build", bfloat16_model(tmp_path), "-o", out, "--name", "m")
    note = "serving_default: the reference is onnx.reference, because ONNX Runtime has no kernel: Could not find"
    assert note in " ".join(built.output.split())
    parity = bundler.Bundle.open(out).record("m")["parity"]
    assert parity["reference"] == ONNX_REFERENCE
    assert note in parity["runtime_notes"][0]
    verified = run("verify", out)
    assert "gives onnx.reference's answers" in " ".join(verified.output.split())
    page = (out / "report.html").read_text()
    assert "Parity with onnx.reference: " in page and "the reference is onnx.reference, because" in page


def test_without_any_witness_the_error_names_both_reasons_and_the_way_out(tmp_path: Path) -> None:
    model = onnx.load(str(save(tmp_path / "m.onnx", [helper.make_node("Twice", ["x"], ["y"], domain="mylib")])))
    model.opset_import.append(helper.make_opsetid("mylib", 1))
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(SourceError) as caught:
        bundler.build(tmp_path / "m.onnx", out=tmp_path / "b")
    assert "ONNX Runtime has no kernel for mylib:Twice. onnx.reference failed: " in caught.value.what
    assert "bundler.convert(" in str(caught.value.fix)


def test_sizes_that_do_not_fit_are_an_error_of_the_inputs(tmp_path: Path) -> None:
    shape = numpy_helper.from_array(np.array([2, 2]), "shape")
    path = save(tmp_path / "m.onnx", [helper.make_node("Reshape", ["x", "shape"], ["y"], name="é")])
    model = onnx.load(str(path))
    model.graph.initializer.append(shape)
    onnx.save(model, str(path))
    with pytest.raises(SourceError, match=r"m.onnx fails on the inputs .*Reshape node 'é': ") as caught:
        bundler.build(path, out=tmp_path / "b")
    assert "--input" in str(caught.value.fix)


def test_onnx_reference_has_a_limit_of_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness, "LARGEST_BYTES", 10)
    with pytest.raises(ParityError, match="runs files of up to 0 MiB only"):
        ReferenceModel(bfloat16_model(tmp_path))


def test_onnx_reference_has_a_limit_of_time(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"onnx.reference did not answer within 0.01 seconds"):
        ReferenceModel(bfloat16_model(tmp_path), longest_s=0.01)({"x": X.astype(ml_dtypes.bfloat16)})


def test_arrays_of_every_kind_travel_unchanged(tmp_path: Path) -> None:
    arrays = {
        "a/b:0": X,
        "file": np.array(3),
        "bits": X.astype(ml_dtypes.bfloat16),
        "eighth": X.astype(ml_dtypes.float8_e4m3fn),
        "flags": X > 0,
        "text": np.array([["é", ""], ["a", "b"]], object),
        "none": np.zeros((0, 2), np.int8),
        "names": np.array([1 + 2j], np.complex64),
    }
    pack(tmp_path / "x.npz", arrays)
    got = unpack(tmp_path / "x.npz")
    assert list(got) == list(arrays)
    for name, array in arrays.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)
        assert got[name].tobytes() == array.tobytes() or got[name].tolist() == array.tolist()


@pytest.mark.parametrize("external", [False, True])
def test_nodes_of_one_name_run_in_onnx_runtime_and_keep_it_in_messages(tmp_path: Path, external: bool) -> None:
    nodes = [
        helper.make_node("Add", ["x", "w"], ["t"], name="n"),
        helper.make_node("Relu", ["t"], ["u"], name="n"),
        helper.make_node("Reshape", ["u", "shape"], ["y"], name="n"),
    ]
    path = save(tmp_path / "m.onnx", nodes)
    model = onnx.load(str(path))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "w"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([6]), "shape"))
    onnx.save(model, str(path), save_as_external_data=external, location="w.bin", size_threshold=0)
    before = sorted(tmp_path.iterdir())
    session = OnnxModel(path)
    np.testing.assert_array_equal(session({"x": X})["y"], np.maximum(X + 1, 0).ravel())
    assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(ParityError) as caught:
        session({"x": X[:1]})
    assert "Reshape node 'n': " in caught.value.what
    bundle = bundler.build(path, out=tmp_path / "b", name="m", inputs=("x=float32[2,3]",))
    assert bundle.verify() == []


def test_nodes_of_one_name_in_branches_run_in_onnx_runtime(tmp_path: Path) -> None:
    def branch(operator: str) -> Any:
        nodes = [helper.make_node(operator, ["x"], ["h"], name="n"), helper.make_node("Neg", ["h"], ["o"], name="n")]
        return helper.make_graph(nodes, "b", [], [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)])

    total = helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0, name="n")
    test = helper.make_node("Cast", ["s"], ["c"], to=TensorProto.BOOL, name="n")
    choice = helper.make_node("If", ["c"], ["y"], name="n", then_branch=branch("Abs"), else_branch=branch("Relu"))
    path = save(tmp_path / "m.onnx", [total, test, choice])
    np.testing.assert_array_equal(OnnxModel(path)({"x": X})["y"], -np.abs(X))

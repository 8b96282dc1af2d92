"""TorchScript, .pt2 and .onnx: models that are stored as a graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from bundler.errors import SourceError, UsageError
from bundler.values.signature import TensorSpec
from tests.bundler.sources.conftest import Load

X = "x=float32[batch,3]"


@pytest.fixture
def module() -> nn.Module:
    class Doubler(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor, times: int = 2) -> torch.Tensor:
            return self.layer(x) * times

    return Doubler().eval()


@pytest.mark.filterwarnings("ignore:.*torch.jit")
class TestTorchScript:
    @pytest.fixture
    def script(self, folder: Path) -> Path:
        torch.jit.save(torch.jit.trace(nn.Linear(3, 2), torch.zeros(2, 3)), folder / "m.pt")
        return folder / "m.pt"

    def test_torchscript_is_recognised_by_its_content(self, load_source: Load, script: Path) -> None:
        loaded = load_source(script.name, inputs=("input=float32[batch,3]",))
        assert isinstance(loaded.module, torch.jit.ScriptModule)
        assert loaded.provenance["class"] == "Linear" and loaded.provenance["parameters"] == 8
        assert loaded.input_specs == (TensorSpec.parse("input=float32[batch,3]"),)

    def test_torchscript_needs_dims(self, load_source: Load, script: Path) -> None:
        with pytest.raises(SourceError, match="forward takes: input") as caught:
            load_source(script.name)
        assert caught.value.fix is not None and "--input 'input=float32[batch,…]'" in caught.value.fix

    def test_torchscript_errors_are_one_line(self, load_source: Load, script: Path) -> None:
        with pytest.raises(SourceError, match=r"mat1 and mat2 shapes cannot be multiplied \(2x5 and 3x2\)"):
            load_source(script.name, inputs=("input=float32[batch,5]",))

    @pytest.mark.parametrize("share", [0.4, 0.97])
    def test_damage_is_reported(self, load_source: Load, script: Path, share: float) -> None:
        data = script.read_bytes()
        script.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(SourceError, match="is damaged"):
            load_source(script.name, inputs=("input=float32[batch,3]",))


class TestExportedProgram:
    @pytest.fixture
    def program(self, folder: Path, module: nn.Module) -> Path:
        batch = torch.export.Dim("batch")
        example = torch.arange(6.0).reshape(2, 3)
        dynamic = {"x": {0: batch}, "times": None}
        saved = torch.export.export(module, (example,), {"times": 3}, dynamic_shapes=dynamic)
        torch.export.save(saved, folder / "m.pt2")
        return folder / "m.pt2"

    def test_names_dims_and_examples_come_from_the_program(self, load_source: Load, program: Path) -> None:
        loaded = load_source(program.name)
        assert loaded.input_specs == (TensorSpec.parse(X),)
        np.testing.assert_array_equal(loaded.example_inputs["x"], np.arange(6, dtype=np.float32).reshape(2, 3))
        assert loaded.provenance["parameters"] == 8

    def test_dims_may_be_named_or_fixed(self, load_source: Load, program: Path) -> None:
        assert load_source(program.name, inputs=("x=float32[rows,3]",)).input_specs[0].dims == ("rows", 3)

    @pytest.mark.parametrize("option", ["x=float32[batch,columns]", "x=float64[batch,3]", "x=float32[batch]"])
    def test_contradicting_input_is_an_error(self, load_source: Load, program: Path, option: str) -> None:
        with pytest.raises(UsageError, match="was exported with"):
            load_source(program.name, inputs=(option,))

    def test_unknown_input_is_an_error(self, load_source: Load, program: Path) -> None:
        with pytest.raises(UsageError, match="no input 'y'"):
            load_source(program.name, inputs=("y=float32[batch,3]",))

    def test_dynamic_dims_have_different_names(self, load_source: Load, folder: Path) -> None:
        batch, length = torch.export.Dim("b"), torch.export.Dim("s")
        shapes = ({0: batch, 1: length},)
        saved = torch.export.export(nn.ReLU(), (torch.zeros(2, 5),), dynamic_shapes=shapes)
        torch.export.save(saved, folder / "two.pt2")
        assert load_source("two.pt2").input_specs[0].dims == ("batch", "dim_1")

    @pytest.mark.parametrize("share", [0.3, 0.99])
    def test_damage_is_reported(self, load_source: Load, program: Path, share: float) -> None:
        data = program.read_bytes()
        program.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(SourceError, match="is damaged"):
            load_source(program.name)

    def test_other_zip_archive_is_an_error(self, load_source: Load, folder: Path) -> None:
        torch.save({"w": torch.zeros(1)}, folder / "w.pt2")
        with pytest.raises(SourceError, match=r"is not a \.pt2 file"):
            load_source("w.pt2")


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


class TestOnnx:
    def test_names_dims_and_range_of_integers_come_from_the_graph(self, load_source: Load, folder: Path) -> None:
        write_onnx(folder / "m.onnx")
        loaded = load_source("m.onnx")
        assert loaded.module is None and loaded.onnx == folder / "m.onnx"
        assert loaded.input_specs == (TensorSpec("ids", "int64", ("N", None)),)
        assert loaded.example_inputs["ids"].max() == 6 and loaded.example_inputs["ids"].min() == 0
        assert loaded.provenance["opset"] == 17

    def test_external_weights_are_read_from_the_same_folder(self, load_source: Load, folder: Path) -> None:
        write_onnx(folder / "m.onnx", external=True)
        assert load_source("m.onnx").onnx == folder / "m.onnx"
        (folder / "weights.bin").unlink()
        with pytest.raises(SourceError, match=r"is in 'weights\.bin', which is missing"):
            load_source("m.onnx")

    def test_dims_may_be_named_or_fixed(self, load_source: Load, folder: Path) -> None:
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
    def test_contradicting_input_is_an_error(self, load_source: Load, folder: Path, option: str, what: str) -> None:
        write_onnx(folder / "m.onnx")
        with pytest.raises(UsageError, match=what):
            load_source("m.onnx", inputs=(option,))

    @pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.95])
    def test_truncated_file_is_an_error(self, load_source: Load, folder: Path, share: float) -> None:
        write_onnx(folder / "m.onnx")
        data = (folder / "m.onnx").read_bytes()
        (folder / "m.onnx").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(SourceError) as caught:
            load_source("m.onnx")
        assert caught.value.where == str(folder / "m.onnx") and caught.value.exit_code == 1

    def test_file_of_another_kind_is_an_error(self, load_source: Load, folder: Path) -> None:
        (folder / "m.onnx").write_bytes(b"this is text, not a protobuf")
        with pytest.raises(SourceError, match="not an ONNX file"):
            load_source("m.onnx")

    def test_graph_that_onnx_runtime_rejects_is_an_error(self, load_source: Load, folder: Path) -> None:
        write_onnx(folder / "m.onnx")
        model = onnx.load(folder / "m.onnx")
        model.graph.node[0].input[0] = "gone"
        onnx.save(model, folder / "m.onnx")
        with pytest.raises(SourceError, match="gone"):
            load_source("m.onnx")

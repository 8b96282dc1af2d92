"""Dynamic dims of outputs: named after the dims of the inputs that they follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from bundler.errors import SourceError
from bundler.export.output_dims import output_specs
from bundler.graph.onnx_runtime import OnnxModel
from bundler.values.arrays import Array
from bundler.values.signature import TensorSpec
from serving.golden.compare import compare
from tests.bundler.exporting import Net, assert_same_answers, export_module, signature_text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_the_sequence_of_every_recurrent_model_of_a_process_is_dynamic(tmp_path: Path, kind: str) -> None:
    for index in range(2):
        layer = getattr(nn, kind)(3, 4, bidirectional=True, batch_first=True)
        work = tmp_path / str(index)
        work.mkdir()
        (exported,) = export_module(layer, work, inputs=("input=float32[batch,seq,3]",))
        assert str(exported.signature.outputs[0]) == "output_0=float32[batch,seq,8]"
        assert exported.signature.outputs[1].dims == (2, "batch", 4)
        graph = onnx.load(exported.onnx).graph
        assert [n.op_type for n in graph.node].count(kind) == 1
        assert {"seq-8", "seq-24", "batch-1"} <= set(assert_same_answers(exported))


class Pick(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[x > 0], x.repeat_interleave(2, dim=0)


def test_a_dim_that_follows_no_input_dim_has_no_name(tmp_path: Path) -> None:
    one_per_row = torch.tensor([[1.0, -1.0, -1.0]] * 4)
    (exported,) = export_module(Pick(), tmp_path, one_per_row, inputs=("x=float32[batch,3]",))
    assert signature_text(exported) == "x=float32[batch,3] -> output_0=float32[?] output_1=float32[?,3]"


def test_a_dim_without_a_name_is_dynamic(tmp_path: Path) -> None:
    (exported,) = export_module(Net(), tmp_path, inputs=("x=float32[?,3]",))
    assert signature_text(exported) == "x=float32[?,3] -> output=float32[?,4]"
    for rows in (1, 7):
        x = np.ones((rows, 3), np.float32)
        difference = compare("output", exported.reference({"x": x})["output"], OnnxModel(exported.onnx)({"x": x})["output"])
        assert difference.within(1e-5)


def test_a_fixed_batch_stays_fixed(tmp_path: Path) -> None:
    (exported,) = export_module(Net(), tmp_path, inputs=("x=float32[1,3]",))
    assert signature_text(exported) == "x=float32[1,3] -> output=float32[1,4]"
    assert exported.examples["x"].shape == (1, 3)


def test_a_model_that_supports_one_batch_size_only_is_refused(tmp_path: Path) -> None:
    class Halves(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(2, -1)

    with pytest.raises(SourceError, match=r"does not run on x=float32\[3, 3\]") as caught:
        export_module(Halves(), tmp_path, inputs=("x=float32[batch,3]",))
    assert caught.value.where is not None and "return x.reshape(2, -1)" in caught.value.where


SPECS = (TensorSpec.parse("x=float32[batch,seq]"),)
EXAMPLES = {"x": np.zeros((2, 8), np.float32)}


def test_a_length_that_the_model_refuses_has_the_name_that_the_graph_declares() -> None:
    def run(inputs: dict[str, Array]) -> dict[str, Array]:
        if inputs["x"].shape[1] != 8:
            raise SourceError("the length is fixed")
        return {"y": inputs["x"][:, :4]}

    (spec,) = output_specs(run, SPECS, EXAMPLES, run(EXAMPLES), {"y": ["batch", "seq"]})
    assert spec.dims == ("batch", "seq")
    (spec,) = output_specs(run, SPECS, EXAMPLES, run(EXAMPLES), {"y": None})
    assert spec.dims == ("batch", 4)


def test_a_size_that_depends_on_values_is_not_named_after_an_equal_input_dim() -> None:
    def run(inputs: dict[str, Array]) -> dict[str, Array]:
        return {"y": inputs["x"][:, 0]}

    (spec,) = output_specs(run, SPECS, EXAMPLES, run(EXAMPLES), {"y": ["u0"]})
    assert spec.dims == (None,)


class Regrouped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 64)


def test_a_dim_that_follows_two_dims_of_the_inputs_has_no_name(tmp_path: Path) -> None:
    (exported,) = export_module(Regrouped(), tmp_path, torch.randn(4, 8, 8), inputs=("x=float32[batch,seq,8]",))
    assert signature_text(exported) == "x=float32[batch,seq,8] -> output=float32[?,64]"

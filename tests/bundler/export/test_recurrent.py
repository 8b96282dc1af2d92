"""Recurrent layers over tensors: exported for sequences and batches of any length, and equal to PyTorch's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from torch import Tensor, nn

from bundler.values.exported import ExportedSignature
from tests.bundler.exporting import assert_same_answers, export_module


class Tagger(nn.Module):
    """Recurrent layers, then attention, which uses the length of the sequence; also the last state of the first layer."""

    def __init__(self, *layers: nn.RNNBase, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.encoder = nn.TransformerEncoderLayer(width, 2, 8, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        states = []
        for layer in self.layers:
            x, state = layer(x)
            states.append(state[0] if isinstance(state, tuple) else state)
        return self.encoder(x), states[0]


def operators(exported: ExportedSignature) -> list[str]:
    recurrent = {"LSTM", "GRU", "RNN", "Loop", "Scan"}
    return [node.op_type for node in onnx.load(exported.onnx).graph.node if node.op_type in recurrent]


@pytest.mark.slow
@pytest.mark.compat
def test_attention_behind_an_lstm_and_a_gru_takes_any_batch_and_any_length(tmp_path: Path) -> None:
    layers = nn.LSTM(4, 3, batch_first=True, bidirectional=True), nn.GRU(6, 6, num_layers=2, batch_first=True)
    (exported,) = export_module(Tagger(*layers, width=6).eval(), tmp_path, inputs=("x=float32[batch,time,4]",))
    assert {"time-8", "batch-5"} <= set(assert_same_answers(exported))
    assert operators(exported) == ["LSTM", "GRU", "GRU"]


@pytest.mark.compat
@pytest.mark.slow
@pytest.mark.parametrize(
    "layer",
    [
        nn.LSTM(4, 6, num_layers=2, bias=False, batch_first=True), nn.GRU(4, 3, bidirectional=True, batch_first=True),
        nn.RNN(4, 6, nonlinearity="relu", batch_first=True), nn.RNN(4, 3, num_layers=2, bidirectional=True, batch_first=True),
    ],
    ids=lambda layer: f"{layer.mode}-{layer.num_layers}-{layer.bidirectional}",
)  # fmt: skip
def test_attention_behind_any_recurrent_layer_takes_any_batch_and_any_length(tmp_path: Path, layer: nn.RNNBase) -> None:
    (exported,) = export_module(Tagger(layer, width=6).eval(), tmp_path, inputs=("x=float32[batch,time,4]",))
    assert {"time-8", "batch-5"} <= set(assert_same_answers(exported))


class Given(nn.Module):
    """A recurrent layer that starts with a state that is given; the state it ends with is an output, too."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, state: Tensor) -> Any:
        return self.layer(x, (state, state * 2) if self.layer.mode == "LSTM" else state)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_one_sequence_without_a_batch_and_with_a_state_answers_as_pytorch_does(tmp_path: Path, kind: type[nn.RNNBase]) -> None:
    module = Given(kind(4, 6, num_layers=2)).eval()
    inputs = "x=float32[time,4]", "state=float32[2,6]"
    (exported,) = export_module(module, tmp_path, inputs=inputs)
    assert "time-8" in assert_same_answers(exported)
    assert operators(exported) == [kind.__name__] * 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_batch_with_a_given_state_answers_as_pytorch_does(tmp_path: Path, kind: type[nn.RNNBase]) -> None:
    inputs = "x=float32[batch,time,4]", "state=float32[1,batch,6]"
    (exported,) = export_module(Given(kind(4, 6, batch_first=True)).eval(), tmp_path, inputs=inputs)
    assert {"time-8", "batch-5"} <= set(assert_same_answers(exported))


@pytest.mark.slow
def test_an_lstm_with_a_projection_over_a_tensor_answers_as_pytorch_does(tmp_path: Path) -> None:
    (exported,) = export_module(
        nn.LSTM(4, 6, proj_size=2, batch_first=True).eval(), tmp_path, inputs=("x=float32[batch,5,4]",)
    )
    assert_same_answers(exported)

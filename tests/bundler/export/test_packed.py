"""Models over packed sequences: exported with lengths per row, and equal to PyTorch's own packed sequences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import rnn
from torch.nn.utils.rnn import PackedSequence
from torch.nn.utils.rnn import pack_padded_sequence as packed_under_another_name

import bundler
from bundler.errors import ExportError, SourceError, TfbundleError
from bundler.export.recurrent import recurrent_operators
from tests.bundler.cli.commands import run


@pytest.fixture(autouse=True)
def _reports_in_the_tests_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's report of a failed export is kept in the current folder."""
    monkeypatch.chdir(tmp_path)


class Recurrent(nn.Module):
    """A recurrent layer over packed rows; `use` makes the answer of it."""

    def __init__(self, layer: nn.RNNBase, use: Callable[[nn.RNNBase, Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.rnn, self._use = layer, use

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        return self._use(self.rnn, x, lengths)


def outputs(layer: nn.RNNBase, x: Tensor, lengths: Tensor) -> Tensor:
    packed = packed_under_another_name(x, lengths, batch_first=True, enforce_sorted=False)
    return rnn.pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=x.shape[1])[0]


def states(layer: nn.RNNBase, x: Tensor, lengths: Tensor) -> Any:
    packed = rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    return layer(packed)[1]


def longest(layer: nn.RNNBase, x: Tensor, lengths: Tensor) -> Any:
    """Return outputs cut to the longest row and filled with -1, and the lengths."""
    packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    return rnn.pad_packed_sequence(layer(packed)[0], batch_first=True, padding_value=-1.0)


def changed_data(layer: nn.RNNBase, x: Tensor, lengths: Tensor) -> Tensor:
    packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    doubled = PackedSequence(packed.data * 2, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
    return rnn.pad_packed_sequence(layer(doubled)[0], batch_first=True, total_length=x.shape[1])[0]


def given_state(layer: nn.RNNBase, x: Tensor, lengths: Tensor) -> Tensor:
    packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    first = torch.full((layer.num_layers * (2 if layer.bidirectional else 1), x.shape[0], layer.hidden_size), 0.5)
    output, _ = layer(packed, (first, first) if layer.mode == "LSTM" else first)
    return rnn.pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])[0]


def time_first(layer: nn.RNNBase, x: Tensor, lengths: Tensor) -> Tensor:
    turned = x.transpose(0, 1)
    packed = rnn.pack_padded_sequence(turned, lengths, enforce_sorted=False)
    return rnn.pad_packed_sequence(layer(packed)[0], total_length=turned.shape[0])[0].transpose(0, 1)


def built(layer: nn.RNNBase, use: Callable[..., Any], tmp_path: Path, lengths: tuple[int, ...] = (3, 5, 1)) -> bundler.Bundle:
    torch.manual_seed(0)
    inputs = {"x": torch.randn(len(lengths), 5, 4), "lengths": torch.tensor(lengths)}
    return bundler.build(Recurrent(layer, use).eval(), inputs, tmp_path / "b", name="m")


def assert_compared(bundle: bundler.Bundle) -> None:
    """Check that the example was compared in both runtimes: draws with lengths beyond the rows are refused by PyTorch."""
    parity = bundle.record("m")["parity"]
    assert parity["passed"] and parity["reference"] == "PyTorch"
    assert {row["runtime"] for row in parity["results"] if row["draw"] == "example"} == {"onnxruntime", "saved_model"}


@pytest.mark.slow
@pytest.mark.compat
def test_a_two_way_lstm_answers_as_pytorch_does(tmp_path: Path) -> None:
    bundle = built(nn.LSTM(4, 6, num_layers=2, bidirectional=True, batch_first=True), outputs, tmp_path)
    assert_compared(bundle)
    operators = [node.op_type for node in onnx.load(str(tmp_path / "b/onnx/m/1.onnx")).graph.node]
    assert operators.count("LSTM") == 2
    assert "TopK" not in operators


@pytest.mark.slow
@pytest.mark.parametrize("use", [outputs, states, longest, changed_data, given_state, time_first], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("LSTM", {}), ("LSTM", {"bidirectional": True, "bias": False}), ("GRU", {"bidirectional": True}),
        ("GRU", {"num_layers": 2, "bias": False}), ("RNN", {}), ("RNN", {"nonlinearity": "relu", "bidirectional": True}),
    ],
    ids=str,
)  # fmt: skip
def test_every_layer_and_use_answers_as_pytorch_does(
    kind: str, options: dict[str, Any], use: Callable[..., Any], tmp_path: Path
) -> None:
    assert_compared(built(getattr(nn, kind)(4, 6, batch_first=use is not time_first, **options), use, tmp_path))


MODEL = '''
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 6, batch_first=True, bidirectional=True), nn.Linear(12, 3)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])
        return self.head(y)

def make():
    torch.manual_seed(0)
    return Tagger().eval(), {"x": torch.randn(2, 5, 4), "lengths": torch.tensor([5, 3])}
'''


@pytest.mark.slow
def test_the_command_line_builds_and_verifies_a_tagger(tmp_path: Path) -> None:
    (tmp_path / "tagger.py").write_text(MODEL)
    run("build", f"{tmp_path / 'tagger.py'}:make", "-o", tmp_path / "b", "--name", "m")
    run("verify", tmp_path / "b")


def test_lengths_as_a_list_are_refused_with_the_line_and_code_to_write(tmp_path: Path) -> None:
    def listed(layer: nn.RNNBase, x: Tensor, lengths: Tensor) -> Tensor:
        packed = rnn.pack_padded_sequence(x, lengths.tolist(), batch_first=True)
        return layer(packed)[0].data

    with pytest.raises(ExportError) as caught:
        built(nn.GRU(4, 6, batch_first=True), listed, tmp_path, (5, 3, 1))
    assert "pack_padded_sequence" in caught.value.what
    assert "pack_padded_sequence(x, lengths.tolist(), batch_first=True)" in str(caught.value.where)
    assert "packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)" in str(caught.value.fix)


def test_a_packed_sequence_that_is_made_by_hand_is_refused_with_code_to_write(tmp_path: Path) -> None:
    def by_hand(layer: nn.RNNBase, x: Tensor, lengths: Tensor) -> Tensor:
        return layer(PackedSequence(x.flatten(0, 1), lengths))[0].data

    with pytest.raises(ExportError, match="makes a PackedSequence without pack_padded_sequence") as caught:
        built(nn.GRU(4, 6), by_hand, tmp_path, (5, 5, 5, 5, 5))
    assert "return layer(PackedSequence(x.flatten(0, 1), lengths))[0].data" in str(caught.value.where)
    assert "packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)" in str(caught.value.fix)


def test_an_lstm_with_a_projection_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="An LSTM with proj_size over packed sequences cannot be written to ONNX"):
        built(nn.LSTM(4, 6, proj_size=2, batch_first=True), outputs, tmp_path)


def test_a_packed_input_is_refused_with_the_way_out(tmp_path: Path) -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(4, 6)

        def forward(self, packed: PackedSequence) -> Tensor:
            return self.rnn(packed)[0].data

    packed = rnn.pack_padded_sequence(torch.randn(5, 2, 4), torch.tensor([5, 3]))
    with pytest.raises(SourceError, match="The example input 'packed' is a PackedSequence") as caught:
        bundler.build(Packed().eval(), (packed,), tmp_path / "b", name="m")
    assert "pack_padded_sequence" in str(caught.value.fix)


def test_torchs_own_functions_are_back_after_the_export() -> None:
    layer = nn.LSTM(4, 6)
    before = (rnn.pack_padded_sequence.__code__, rnn.pad_packed_sequence.__code__, nn.LSTM.forward)
    with pytest.raises(TfbundleError), recurrent_operators():
        assert nn.LSTM.forward is not before[2]
        raise ExportError("stopped")
    assert (rnn.pack_padded_sequence.__code__, rnn.pad_packed_sequence.__code__, nn.LSTM.forward) == before
    packed = rnn.pack_padded_sequence(torch.randn(5, 2, 4), torch.tensor([5, 3]))
    assert packed.batch_sizes.tolist() == [2, 2, 2, 1, 1]
    assert layer(packed)[0].data.shape == (8, 6)

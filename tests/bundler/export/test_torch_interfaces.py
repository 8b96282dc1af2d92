"""Interfaces of torch that are not public: refusals and fallbacks for releases that lack them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from bundler.errors import ExportError
from bundler.export import torch_interfaces
from bundler.export.failure import explain
from tests.bundler.exporting import Net, assert_same_answers, export_module


class Recurrent(nn.Module):
    """A two-way LSTM, GRU layers if any, and an encoder layer, over a sequence of any length."""

    def __init__(self, gru_layers: int = 0) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 3, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(6, 6, num_layers=gru_layers, batch_first=True) if gru_layers else None
        self.encoder = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, (state, _) = self.lstm(x)
        return self.encoder(y if self.gru is None else self.gru(y)[0]), state


@pytest.fixture
def unchecked() -> Iterator[None]:
    torch_interfaces.check.cache_clear()
    yield
    torch_interfaces.check.cache_clear()


@pytest.mark.compat
@pytest.mark.slow
def test_recurrent_and_attention_layers_take_sequences_of_any_length(tmp_path: Path) -> None:
    (exported,) = export_module(Recurrent().eval(), tmp_path, inputs=("x=float32[batch,time,4]",))
    assert {"time-8", "batch-5"} <= set(assert_same_answers(exported))


@pytest.mark.compat
def test_recurrent_layers_are_operators_of_onnx_if_torch_cannot_export_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_interfaces, "exports_recurrence", lambda: False)
    (exported,) = export_module(Recurrent(gru_layers=2).eval(), tmp_path, inputs=("x=float32[batch,time,4]",))
    assert {"time-8", "batch-5"} <= set(assert_same_answers(exported))
    operators = [node.op_type for node in onnx.load(exported.onnx).graph.node]
    assert (operators.count("LSTM"), operators.count("GRU")) == (1, 2)


@pytest.mark.parametrize(("module", "name"), [("torch.onnx.ops", "no_such_function"), ("torch.no_such_module", "export")])
def test_a_missing_interface_is_refused_with_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchecked: None, module: str, name: str
) -> None:
    monkeypatch.setattr(torch_interfaces, "REQUIRED", ((module, name),))
    with pytest.raises(ExportError, match=f"torch {torch.__version__.replace('+', '.')} has no {module}.{name}") as caught:
        export_module(Net(), tmp_path, torch.ones(2, 3))
    assert caught.value.fix == "pip install 'torch>=2.8' 'onnxscript>=0.6'"


@pytest.mark.compat
def test_this_release_has_every_required_interface(unchecked: None) -> None:
    torch_interfaces.check()


def test_a_while_loop_that_torch_cannot_write_is_named_with_the_release_that_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch 2.8 to 2.10 raise this TypeError for the result of the loop's condition."""
    monkeypatch.chdir(tmp_path)
    error = explain(TypeError("'Node' object is not iterable"), "Iterate", ["x"], tmp_path, "")
    assert "torch before 2.11 cannot write while_loop" in str(error)
    assert error.fix is not None and error.fix.startswith("pip install 'torch>=2.11'")


def test_an_operator_without_a_cache_is_left_alone() -> None:
    cached: Any = SimpleNamespace(_dispatch_cache={"CPU": 1})
    torch_interfaces.clear_dispatch_cache(cached)
    assert not cached._dispatch_cache
    without: Any = SimpleNamespace()
    torch_interfaces.clear_dispatch_cache(without)

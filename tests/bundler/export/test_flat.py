"""The flat call of a module, and attention of other ranks than four."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from bundler.errors import ExportError
from bundler.export.flat import FlatModule
from bundler.sources.binding import bind_specs, parameters
from bundler.values.signature import TensorSpec
from tests.bundler.exporting import BATCHES, assert_same_answers, export_module


class Attend(nn.Module):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(x, x, value=x, attn_mask=mask)


@pytest.mark.slow
def test_attention_with_three_axes_becomes_one_node(tmp_path: Path) -> None:
    example = {"x": torch.randn(2, 5, 8), "mask": torch.rand(2, 5, 5) > 0.3}
    (exported,) = export_module(Attend(), tmp_path, example)
    assert "Attention" in [node.op_type for node in onnx.load(exported.onnx).graph.node]
    assert assert_same_answers(exported) == BATCHES


class Windows(nn.Module):
    """Attention within windows: the batch and the windows are leading axes."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(x, x + 1, x * 2, torch.ones(6, 6).tril().bool())


def test_attention_with_five_axes_becomes_one_node(tmp_path: Path) -> None:
    (exported,) = export_module(Windows(), tmp_path, torch.randn(2, 3, 4, 6, 8))
    assert "Attention" in [node.op_type for node in onnx.load(exported.onnx).graph.node]
    assert assert_same_answers(exported) == BATCHES


class Pair(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"plus": x + 1, "twice": x * 2}


def flat(keep: list[str] | None) -> FlatModule:
    module = Pair()
    return FlatModule(module, bind_specs(parameters(module, "forward"), [TensorSpec.parse("x=float32[2]")]), keep=keep)


def test_the_selected_outputs_are_returned_in_their_order() -> None:
    x = torch.ones(2)
    assert list(flat(None).answer([x])) == ["plus", "twice"]
    assert list(flat(["twice", "plus"]).answer([x])) == ["twice", "plus"]
    (twice,) = flat(["twice"])(x)
    assert twice.tolist() == [2, 2]


def test_an_unknown_output_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ExportError, match="no output 'half'") as caught:
        flat(["half"]).answer([torch.ones(2)])
    assert caught.value.fix == "choose from its outputs: plus, twice"


def test_the_module_stays_in_eval_mode() -> None:
    assert not flat(None).train().training

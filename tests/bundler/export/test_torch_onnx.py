"""torch's exporters: the opset, the operators that they write, and models that they cannot export."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from bundler.errors import ExportError, UsageError
from bundler.graph.onnx_signature import load_graph, opset_of
from tests.bundler.exporting import BATCHES, Net, assert_same_answers, export_module, signature_text
from tests.models import MODELS


def test_a_transformer_encoder_is_exported_without_its_fast_path(tmp_path: Path) -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)
    enabled = torch.backends.mha.get_fastpath_enabled()
    (exported,) = export_module(encoder, tmp_path, inputs=("src=float32[batch,seq,8]",))
    assert torch.backends.mha.get_fastpath_enabled() == enabled
    assert {"seq-8", "batch-5"} <= set(assert_same_answers(exported))


@pytest.mark.sample(2)
@pytest.mark.parametrize(("requested", "limit", "written"), [(None, None, 23), (18, None, 18), (15, None, 15), (None, 15, 15)])
def test_the_requested_opset_is_written(
    tmp_path: Path, requested: int | None, limit: int | None, written: int
) -> None:
    example = torch.rand(2, 1, 8, 8)
    (exported,) = export_module(MODELS["digits_cnn"]().module, tmp_path, example, opset=requested, max_opset=limit)
    assert opset_of(load_graph(exported.onnx)) == written
    assert signature_text(exported) == "image=float32[batch,1,8,8] -> output=float32[batch,10]"
    assert assert_same_answers(exported) == BATCHES


@pytest.mark.parametrize(("requested", "limit"), [(99, None), (18, 15)])
def test_an_unsupported_opset_is_refused(tmp_path: Path, requested: int, limit: int | None) -> None:
    with pytest.raises(UsageError, match=f"--opset is {requested}"):
        export_module(Net(), tmp_path, torch.ones(2, 3), opset=requested, max_opset=limit)


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", ["LayerNorm", "GELU", "GroupNorm", "RMSNorm"])
def test_a_normalization_is_one_node_at_the_default_opset(tmp_path: Path, name: str) -> None:
    layer = {"LayerNorm": nn.LayerNorm(8), "GELU": nn.GELU(), "GroupNorm": nn.GroupNorm(2, 8), "RMSNorm": nn.RMSNorm(8)}
    wanted = {"LayerNorm": "LayerNormalization", "GELU": "Gelu", "GroupNorm": "GroupNormalization"}
    (exported,) = export_module(layer[name], tmp_path, torch.randn(2, 8, 8))
    assert wanted.get(name, "RMSNormalization") in [node.op_type for node in onnx.load(exported.onnx).graph.node]
    assert_same_answers(exported)


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    class Spectrum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.rfft(x)

    with pytest.raises(ExportError, match="complex") as caught:
        export_module(Spectrum(), tmp_path, torch.ones(2, 8))
    assert caught.value.fix is not None and "view_as_real" in caught.value.fix


class RelativeBias(nn.Module):
    """Attention with a learned bias by relative position, as in BEiT and T5."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(50, 4))
        self.places = torch.arange(17)[:, None] + torch.arange(17)

    def forward(self, x: Tensor) -> Tensor:
        heads = x.unflatten(2, (4, 16)).transpose(1, 2)
        bias = self.table[self.places.flatten()].view(17, 17, 4).permute(2, 0, 1).contiguous()[None]
        mixed = nn.functional.scaled_dot_product_attention(heads, heads, heads, bias)
        return mixed.transpose(1, 2).reshape(x.shape[0], 17, 64)


@pytest.mark.compat
def test_attention_with_a_learned_bias_is_one_node(tmp_path: Path) -> None:
    (exported,) = export_module(RelativeBias(), tmp_path, torch.randn(2, 17, 64))
    assert "Attention" in {node.op_type for node in onnx.load(exported.onnx).graph.node}
    assert_same_answers(exported)

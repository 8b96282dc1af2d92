"""Substitutes for functions that torch's exporter does not support: exported, they compute what PyTorch computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bundler.graph.onnx_runtime import OnnxModel
from tests.bundler.exporting import assert_same_answers, export_module
from tests.models import seeded


class Call(nn.Module):
    """A function of the inputs and one weight."""

    def __init__(self, function: Callable[..., Tensor], *shape: int) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.randn(shape))


class OneInput(Call):
    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight)


class Bags(Call):
    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        return self.function(x, self.weight, offsets)


def exported(module: nn.Module, work: Path, inputs: dict[str, Tensor], *specs: str) -> set[str]:
    """Return the operators of the exported module, after checking that ONNX Runtime agrees with PyTorch on all draws."""
    (signature,) = export_module(module, work, inputs, inputs=specs)
    assert_same_answers(signature)
    return {node.op_type for node in onnx.load(signature.onnx).graph.node}


@pytest.mark.sample(4)
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 3])
def test_bags_of_equal_length_need_no_loop(tmp_path: Path, mode: str, padding: int | None) -> None:
    with seeded():
        module = OneInput(lambda x, w: functional.embedding_bag(x, w, mode=mode, padding_idx=padding), 10, 4)
        ids = torch.cat([torch.randint(0, 10, (2, 5)), torch.full((1, 5), 3)])
    operators = exported(module, tmp_path, {"x": ids}, "x=int64[batch,seq]")
    assert "Loop" not in operators and "Gather" in operators


@pytest.mark.sample(3)
@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("last", [False, True], ids=["", "include_last_offset"])
def test_bags_with_offsets_agree_with_pytorch(tmp_path: Path, mode: str, last: bool) -> None:
    """An empty bag gives zeros; calls have more and fewer bags than the example."""
    with seeded():
        module = Bags(lambda x, w, o: functional.embedding_bag(x, w, o, mode=mode, include_last_offset=last), 10, 4)
    inputs = {"x": torch.arange(8), "offsets": torch.tensor([0, 3, 3, 6, 8] if last else [0, 3, 3, 6])}
    flat = export_module(module, tmp_path, inputs, inputs=("x=int64[8]", "offsets=int64[bags]"))[0]
    for offsets in ([0, 3, 3, 6], [0, 1], [0, 0, 8]):
        call = {"x": inputs["x"].numpy(), "offsets": torch.tensor([*offsets, 8] if last else offsets).numpy()}
        want, got = flat.reference(call)["output"], OnnxModel(flat.onnx)(call)["output"]
        torch.testing.assert_close(torch.from_numpy(got), torch.from_numpy(want), rtol=1e-5, atol=1e-6)


def test_weighted_bags_agree_with_pytorch(tmp_path: Path) -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bags = nn.EmbeddingBag(10, 4, mode="sum", padding_idx=0)

        def forward(self, x: Tensor, weights: Tensor) -> Tensor:
            return self.bags(x, per_sample_weights=weights)

    inputs = {"x": torch.randint(0, 10, (2, 5)), "weights": torch.rand(2, 5)}
    exported(Weighted(), tmp_path, inputs, "x=int64[batch,5]", "weights=float32[batch,5]")


@pytest.mark.sample(3)
@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, 3.0, float("inf")])
def test_distances_agree_with_pytorch(tmp_path: Path, p: float) -> None:
    with seeded():
        module = OneInput(lambda x, w: torch.cdist(x, w, p=p), 6, 3)
        exported(module, tmp_path, {"x": torch.randn(2, 5, 3)}, "x=float32[batch,points,3]")


def test_attention_of_many_queries_over_one_key_is_one_node(tmp_path: Path) -> None:
    class MultiQuery(nn.Module):
        def forward(self, query: Tensor, key: Tensor) -> Tensor:
            return functional.scaled_dot_product_attention(query, key, key * 2, is_causal=True)

    inputs = {"query": torch.randn(2, 4, 6, 8), "key": torch.randn(2, 1, 6, 8)}
    operators = exported(MultiQuery(), tmp_path, inputs, "query=float32[batch,4,6,8]", "key=float32[batch,1,6,8]")
    assert "Attention" in operators


@pytest.mark.sample(2)
@pytest.mark.parametrize("kind", ["tensor", "tensor, learned", "channel"])
def test_fake_quantization_agrees_with_pytorch(tmp_path: Path, kind: str) -> None:
    """Halves are rounded to even and values are clamped to the range, as in torch's kernel."""
    learned, zeros = torch.tensor([0.25]), torch.zeros(4, dtype=torch.int32)
    functions: dict[str, Callable[[Tensor, Tensor], Any]] = {
        "tensor": lambda x, w: torch.fake_quantize_per_tensor_affine(x, 0.25, 3, 0, 15),
        "tensor, learned": lambda x, w: torch.fake_quantize_per_tensor_affine(x, learned, zeros[:1], -8, 7),
        "channel": lambda x, w: torch.fake_quantize_per_channel_affine(x, w.abs() + 0.1, zeros, 1, -8, 7),
    }
    with seeded():
        module = OneInput(functions[kind], 4)
    x = torch.arange(-24, 24).view(3, 4, 4) / 8
    exported(module, tmp_path, {"x": x}, "x=float32[batch,4,4]")

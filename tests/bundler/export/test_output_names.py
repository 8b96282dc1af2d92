"""Names of outputs that values within the graph have already."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from bundler.export.stage import export
from bundler.sources.module import from_module
from bundler.spec.bundle_spec import ModelSpec


class Embedder(nn.Module):
    """torch calls the value of the embedding `embedding`, which is the name of the output, too."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4)

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        return {"embedding": self.table(ids).mean(1)}


def test_an_output_may_have_the_name_of_a_value_within(tmp_path: Path) -> None:
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    loaded = from_module(Embedder(), examples={"ids": ids}, provenance={})
    (exported,) = export(loaded, ModelSpec(name="m", source="m.py:make"), tmp_path)
    graph = onnx.load(exported.onnx).graph
    names = [name for node in graph.node for name in node.output]
    assert len(names) == len(set(names))
    session = onnxruntime.InferenceSession(str(exported.onnx), providers=["CPUExecutionProvider"])
    got = session.run(["embedding"], {"ids": ids.numpy()})[0]
    np.testing.assert_allclose(got, exported.reference({"ids": ids.numpy()})["embedding"], rtol=1e-5, atol=1e-6)

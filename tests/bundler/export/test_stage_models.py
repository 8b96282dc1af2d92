"""Real models, exported and compared with PyTorch at batch 1, 2 and 5 and at other sequence lengths."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.graph.onnx_signature import load_graph, opset_of, signature_of
from tests.bundler.exporting import assert_same_answers, export_module
from tests.models import MODELS

QUICK = ("multi_io", "tabular_mlp")
SEQUENCES = ("bert", "minilm", "bilstm")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in MODELS])
def test_a_real_model_keeps_its_signature_and_outputs(tmp_path: Path, name: str) -> None:
    model = MODELS[name]()
    (exported,) = export_module(model.module, tmp_path, dict(model.inputs), inputs=model.specs)
    assert tuple(str(spec) for spec in exported.signature.inputs) == model.specs
    assert all(spec.dims[0] == "batch" for spec in exported.signature.outputs)
    graph = load_graph(exported.onnx)
    assert signature_of(graph) == exported.signature and opset_of(graph) == 23
    drawn = assert_same_answers(exported)
    assert {"example", "random", "batch-1", "batch-5"} <= set(drawn)
    assert any(draw.startswith("seq-") for draw in drawn) == (name in SEQUENCES)

"""Modules exported to ONNX: names, order, dtypes and dims of the signature, and the same outputs as PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from bundler.errors import UsageError
from bundler.graph.onnx_signature import load_graph, signature_of
from tests.bundler import exporting
from tests.bundler.exporting import BATCHES, Answers, Net, assert_same_answers, export_module, signature_text
from tests.models import load_example


def test_an_example_batch_of_one_is_widened_and_stays_dynamic(tmp_path: Path) -> None:
    (exported,) = export_module(Net(), tmp_path, torch.ones(1, 3))
    assert signature_text(exported) == "x=float32[batch,3] -> output=float32[batch,4]"
    assert exported.examples["x"].shape == (2, 3)
    assert exported.onnx == tmp_path / "serving_default.onnx" and exported.name == "serving_default"
    assert signature_of(load_graph(exported.onnx)) == exported.signature
    assert assert_same_answers(exported) == BATCHES


def test_weights_keep_their_names_and_nodes_record_the_users_line(tmp_path: Path) -> None:
    (exported,) = export_module(Net(), tmp_path, torch.ones(2, 3))
    graph = onnx.load(exported.onnx).graph
    assert {init.name for init in graph.initializer} == {"layer.weight", "layer.bias"}
    (trace,) = {p.value for node in graph.node for p in node.metadata_props if p.key.endswith("stack_trace")}
    assert trace.startswith(f'File "{exporting.__file__}"') and "return self.layer(x)" in trace
    assert "export/flat.py" not in trace


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("kind", "outputs"),
    [
        ("tuple", "output_0=float32[batch,3] output_1=float32[batch]"),
        ("dict", "b=float32[batch] a=float32[batch,3]"),
        ("named", "score=float32[batch] code=float32[batch,3]"),
        ("nested", "outer.inner=float32[batch,3] outer.list_0=float32[batch]"),
        ("same", "output_0=float32[batch,3] output_1=float32[batch,3] output_2=float32[batch,3]"),
        ("echo", "x_output=float32[batch,3]"),
        ("single", "output_0=float32[batch,3]"),
    ],
)
def test_outputs_are_named_after_the_structure_of_the_result(tmp_path: Path, kind: str, outputs: str) -> None:
    (exported,) = export_module(Answers(kind), tmp_path, torch.ones(2, 3))
    assert signature_text(exported) == f"x=float32[batch,3] -> {outputs}"
    assert_same_answers(exported)


@pytest.mark.slow
def test_the_outputs_of_a_dataclass_have_the_names_of_its_fields(tmp_path: Path) -> None:
    module, inputs = load_example("multi_io").multi_io_dataclass()
    (exported,) = export_module(module, tmp_path, inputs)
    assert exported.signature.output_names == ("similarity", "image_embedding", "caption_embedding")
    assert exported.signature.input_names == ("image", "caption", "mask")
    assert_same_answers(exported)


def test_the_users_output_names_apply_in_order(tmp_path: Path) -> None:
    (exported,) = export_module(Answers("tuple"), tmp_path, torch.ones(2, 3), outputs=("plus", "sum"))
    assert exported.signature.output_names == ("plus", "sum")
    assert_same_answers(exported)


class Takes(nn.Module):
    def forward(self, parts: list[Tensor], options: dict[str, Tensor], times: int = 2, *, unused: Tensor) -> Tensor:
        return (parts[0] + parts[1] * options["scale"]) * times


def test_nested_constant_and_unused_inputs_are_supported(tmp_path: Path) -> None:
    example = {
        "parts": [torch.ones(2, 3), torch.ones(2, 3)],
        "options": {"scale": torch.ones(2, 1)},
        "times": 3,
        "unused": torch.zeros(2, 5),
    }
    (exported,) = export_module(Takes(), tmp_path, example)
    assert exported.signature.input_names == ("parts_0", "parts_1", "options.scale", "unused")
    assert assert_same_answers(exported) == BATCHES
    np.testing.assert_array_equal(exported.reference(exported.examples)["output"], np.full((2, 3), 6, np.float32))


@pytest.mark.sample(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.int64, torch.int32])
def test_dtypes_are_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    (exported,) = export_module(Answers("single"), tmp_path, torch.ones(2, 3, dtype=dtype))
    name = str(dtype).removeprefix("torch.")
    assert signature_text(exported) == f"x={name}[batch,3] -> output_0={name}[batch,3]"
    assert_same_answers(exported)


def test_bfloat16_reaches_the_reference(tmp_path: Path) -> None:
    (exported,) = export_module(Net().to(torch.bfloat16), tmp_path, torch.ones(2, 3, dtype=torch.bfloat16))
    assert signature_text(exported) == "x=bfloat16[batch,3] -> output=bfloat16[batch,4]"
    assert str(exported.reference(exported.examples)["output"].dtype) == "bfloat16"


def test_further_signatures_share_the_names_of_weights(tmp_path: Path) -> None:
    default, encode, raw = export_module(
        Net(),
        tmp_path,
        torch.ones(2, 3),
        signatures={"encode": {"method": "encode"}, "raw": {"method": "encode", "outputs": ["raw"]}},
    )
    assert (default.name, encode.name, raw.name) == ("serving_default", "encode", "raw")
    assert signature_text(encode) == "x=float32[batch,3] -> code=float32[batch,4] raw=float32[batch,3]"
    assert signature_text(raw) == "x=float32[batch,3] -> raw=float32[batch,3]"
    weights = [{i.name: i for i in onnx.load(s.onnx).graph.initializer} for s in (default, encode)]
    for name in ("layer.weight", "layer.bias"):
        assert weights[0][name] == weights[1][name]
    assert "layer.weight" not in {i.name for i in onnx.load(raw.onnx).graph.initializer}
    for exported in (default, encode, raw):
        assert assert_same_answers(exported) == BATCHES


def test_a_further_signature_can_have_its_own_inputs(tmp_path: Path) -> None:
    rows = {"one": {"inputs": ["x=float32[1,3]"]}}
    _, one = export_module(Net(), tmp_path, torch.ones(2, 3), signatures=rows)
    assert signature_text(one) == "x=float32[1,3] -> output=float32[1,4]"
    assert one.examples["x"].shape == (1, 3)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("row", "what"),
    [({"method": "decode"}, "no method 'decode'"), ({"outputs": ["nope"]}, "which the model does not have")],
)
def test_an_unknown_method_or_output_of_a_signature_is_refused(tmp_path: Path, row: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        export_module(Net(), tmp_path, torch.ones(2, 3), signatures={"s": row})

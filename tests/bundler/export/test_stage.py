"""Modules to ONNX: names, order, dtypes and dims of the signature, and the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from bundler.errors import ExportError, SourceError, UsageError
from bundler.export.stage import export
from bundler.graph.onnx_runtime import OnnxModel
from bundler.graph.onnx_signature import load_graph, opset_of, signature_of
from bundler.sources import load
from bundler.spec.bundle_spec import ModelSpec
from serving.golden.compare import compare
from tests.bundler.exporting import assert_same_answers, export_module, signature_text
from tests.bundler.scripted import Loop
from tests.models import MODELS, load_example

BATCHES = ["example", "random", "batch-1", "batch-5"]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        return {"code": torch.relu(self.layer(x)), "raw": x * 2}


def test_an_example_batch_of_one_is_widened_and_stays_dynamic(tmp_path: Path) -> None:
    (exported,) = export_module(Net(), tmp_path, torch.ones(1, 3))
    assert signature_text(exported) == "x=float32[batch,3] -> output=float32[batch,4]"
    assert exported.examples["x"].shape == (2, 3)
    assert exported.onnx == tmp_path / "serving_default.onnx" and exported.name == "serving_default"
    assert signature_of(load_graph(exported.onnx)) == exported.signature
    assert assert_same_answers(exported) == BATCHES


def test_weights_keep_their_names_and_nodes_the_users_line(tmp_path: Path) -> None:
    (exported,) = export_module(Net(), tmp_path, torch.ones(2, 3))
    graph = onnx.load(exported.onnx).graph
    assert {init.name for init in graph.initializer} == {"layer.weight", "layer.bias"}
    (trace,) = {p.value for node in graph.node for p in node.metadata_props if p.key.endswith("stack_trace")}
    assert trace.startswith(f'File "{__file__}"') and "return self.layer(x)" in trace
    assert "tracing/flat.py" not in trace


class Match(NamedTuple):
    score: Tensor
    code: Tensor


class Answers(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        a, b = x + 1, x.sum(1)
        return {
            "tuple": (a, b),
            "dict": {"b": b, "a": a},
            "named": Match(b, a),
            "nested": {"outer": {"inner": a, "list": [b, None]}},
            "same": (a, a, x),
            "echo": {"x": x * 2},
            "single": [a],
        }[self.kind]


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
def test_names_of_outputs(tmp_path: Path, kind: str, outputs: str) -> None:
    (exported,) = export_module(Answers(kind), tmp_path, torch.ones(2, 3))
    assert signature_text(exported) == f"x=float32[batch,3] -> {outputs}"
    assert_same_answers(exported)


def test_a_dataclass_answers_by_field(tmp_path: Path) -> None:
    module, inputs = load_example("multi_io").multi_io_dataclass()
    (exported,) = export_module(module, tmp_path, inputs)
    assert exported.signature.output_names == ("similarity", "image_embedding", "caption_embedding")
    assert exported.signature.input_names == ("image", "caption", "mask")
    assert_same_answers(exported)


def test_outputs_are_renamed_in_order(tmp_path: Path) -> None:
    (exported,) = export_module(Answers("tuple"), tmp_path, torch.ones(2, 3), outputs=("plus", "sum"))
    assert exported.signature.output_names == ("plus", "sum")
    assert_same_answers(exported)


@pytest.mark.parametrize(
    ("outputs", "what"),
    [(("one",), "1 names are given"), (("a", "a"), "the name 'a'"), (("x", "b"), "an input's name")],
)
def test_names_that_do_not_fit(tmp_path: Path, outputs: tuple[str, ...], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        export_module(Answers("tuple"), tmp_path, torch.ones(2, 3), outputs=outputs)


class Takes(nn.Module):
    def forward(self, parts: list[Tensor], options: dict[str, Tensor], times: int = 2, *, unused: Tensor) -> Tensor:
        return (parts[0] + parts[1] * options["scale"]) * times


def test_nested_constant_and_unused_inputs(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("kind", ["LSTM", pytest.param("GRU", marks=pytest.mark.slow)])
def test_every_recurrent_model_of_a_process_keeps_its_sequence_dynamic(tmp_path: Path, kind: str) -> None:
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


class Attend(nn.Module):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(x, x, value=x, attn_mask=mask)


def test_attention_on_three_axes(tmp_path: Path) -> None:
    example = {"x": torch.randn(2, 5, 8), "mask": torch.rand(2, 5, 5) > 0.3}
    (exported,) = export_module(Attend(), tmp_path, example)
    assert "Attention" in [node.op_type for node in onnx.load(exported.onnx).graph.node]
    assert assert_same_answers(exported) == BATCHES


class Windows(nn.Module):
    """Attention within windows: the batch and the windows lead."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(x, x + 1, x * 2, torch.ones(6, 6).tril().bool())


def test_attention_on_five_axes(tmp_path: Path) -> None:
    (exported,) = export_module(Windows(), tmp_path, torch.randn(2, 3, 4, 6, 8))
    assert "Attention" in [node.op_type for node in onnx.load(exported.onnx).graph.node]
    assert assert_same_answers(exported) == BATCHES


def test_a_transformer_encoder_leaves_its_fast_path(tmp_path: Path) -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)
    enabled = torch.backends.mha.get_fastpath_enabled()
    (exported,) = export_module(encoder, tmp_path, inputs=("src=float32[batch,seq,8]",))
    assert torch.backends.mha.get_fastpath_enabled() == enabled
    assert {"seq-8", "batch-5"} <= set(assert_same_answers(exported))


def test_a_decoder_with_rotary_embeddings(tmp_path: Path) -> None:
    from bundler.sources.torchvision_ops import import_torchvision

    import_torchvision()
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    config.use_cache = False
    names = ("input_ids=int64[batch,seq]", "attention_mask=int64[batch,seq]")
    (exported,) = export_module(transformers.LlamaForCausalLM(config), tmp_path, inputs=names)
    assert "RotaryEmbedding" in [node.op_type for node in onnx.load(exported.onnx).graph.node]
    assert signature_text(exported).endswith("logits=float32[batch,seq,50]")
    assert {"seq-8", "batch-5"} <= set(assert_same_answers(exported))


class Pick(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[x > 0], x.repeat_interleave(2, dim=0)


def test_dims_that_follow_no_dim_of_the_inputs_have_no_name(tmp_path: Path) -> None:
    one_a_row = torch.tensor([[1.0, -1.0, -1.0]] * 4)
    (exported,) = export_module(Pick(), tmp_path, one_a_row, inputs=("x=float32[batch,3]",))
    assert signature_text(exported) == "x=float32[batch,3] -> output_0=float32[?] output_1=float32[?,3]"


def test_dims_without_a_name_are_dynamic(tmp_path: Path) -> None:
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


def test_a_further_signature_may_have_inputs_of_its_own(tmp_path: Path) -> None:
    rows = {"one": {"inputs": ["x=float32[1,3]"]}}
    _, one = export_module(Net(), tmp_path, torch.ones(2, 3), signatures=rows)
    assert signature_text(one) == "x=float32[1,3] -> output=float32[1,4]"
    assert one.examples["x"].shape == (1, 3)


@pytest.mark.parametrize(
    ("row", "what"),
    [({"method": "decode"}, "no method 'decode'"), ({"outputs": ["nope"]}, "which the model does not have")],
)
def test_signatures_that_do_not_fit(tmp_path: Path, row: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        export_module(Net(), tmp_path, torch.ones(2, 3), signatures={"s": row})


@pytest.mark.parametrize(("asked", "limit", "found"), [(None, None, 23), (18, None, 18), (15, None, 15), (None, 15, 15)])
def test_the_opset_is_the_one_asked_for(tmp_path: Path, asked: int | None, limit: int | None, found: int) -> None:
    (exported,) = export_module(MODELS["digits_cnn"]().module, tmp_path, torch.rand(2, 1, 8, 8), opset=asked, max_opset=limit)
    assert opset_of(load_graph(exported.onnx)) == found
    assert signature_text(exported) == "image=float32[batch,1,8,8] -> output=float32[batch,10]"
    assert assert_same_answers(exported) == BATCHES


@pytest.mark.parametrize(("asked", "limit"), [(99, None), (18, 15)])
def test_an_opset_that_cannot_be(tmp_path: Path, asked: int, limit: int | None) -> None:
    with pytest.raises(UsageError, match=f"--opset is {asked}"):
        export_module(Net(), tmp_path, torch.ones(2, 3), opset=asked, max_opset=limit)


@pytest.mark.parametrize("name", ["LayerNorm", "GELU", "GroupNorm", "RMSNorm"])
def test_the_default_opset_keeps_normalizations_one_node(tmp_path: Path, name: str) -> None:
    layer = {"LayerNorm": nn.LayerNorm(8), "GELU": nn.GELU(), "GroupNorm": nn.GroupNorm(2, 8), "RMSNorm": nn.RMSNorm(8)}
    wanted = {"LayerNorm": "LayerNormalization", "GELU": "Gelu", "GroupNorm": "GroupNormalization"}
    (exported,) = export_module(layer[name], tmp_path, torch.randn(2, 8, 8))
    assert wanted.get(name, "RMSNormalization") in [node.op_type for node in onnx.load(exported.onnx).graph.node]
    assert_same_answers(exported)


def test_weights_of_a_large_model_stand_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bundler.export import finish

    monkeypatch.setattr(finish, "EXTERNAL_DATA", 10)
    (exported,) = export_module(Net(), tmp_path, torch.ones(2, 3))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["serving_default.onnx", "serving_default.onnx.data"]
    assert assert_same_answers(exported) == BATCHES


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    class Spectrum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.rfft(x)

    with pytest.raises(ExportError, match="complex") as caught:
        export_module(Spectrum(), tmp_path, torch.ones(2, 8))
    assert caught.value.fix is not None and "view_as_real" in caught.value.fix


def test_a_model_that_does_not_take_other_batches_is_told(tmp_path: Path) -> None:
    class Halves(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(2, -1)

    with pytest.raises(SourceError, match=r"does not run on x=float32\[3, 3\]") as caught:
        export_module(Halves(), tmp_path, inputs=("x=float32[batch,3]",))
    assert caught.value.where is not None and "return x.reshape(2, -1)" in caught.value.where


class TestGraphs:
    """TorchScript, .pt2 and .onnx."""

    @pytest.fixture
    def exported_program(self, tmp_path: Path) -> Path:
        shapes = {"x": {0: torch.export.Dim("batch")}}
        saved = torch.export.export(Answers("dict").eval(), (torch.ones(2, 3),), dynamic_shapes=shapes)
        torch.export.save(saved, tmp_path / "m.pt2")
        return tmp_path / "m.pt2"

    @pytest.mark.parametrize("limit", [None, 15])
    def test_an_exported_program(self, tmp_path: Path, exported_program: Path, limit: int | None) -> None:
        spec = ModelSpec(name="m", source=str(exported_program), signatures={"only": {"outputs": ["a"]}})
        default, only = export(load(spec, base=tmp_path), spec, tmp_path, max_opset=limit)
        assert signature_text(default) == "x=float32[batch,3] -> b=float32[batch] a=float32[batch,3]"
        assert signature_text(only) == "x=float32[batch,3] -> a=float32[batch,3]"
        for exported in (default, only):
            assert assert_same_answers(exported) == BATCHES

    def test_a_graph_has_no_other_methods(self, tmp_path: Path, exported_program: Path) -> None:
        spec = ModelSpec(name="m", source=str(exported_program), signatures={"s": {"method": "encode"}})
        with pytest.raises(UsageError, match="another method"):
            export(load(spec, base=tmp_path), spec, tmp_path)

    def test_an_onnx_file_under_new_names(self, tmp_path: Path) -> None:
        (made,) = export_module(Answers("tuple"), tmp_path, torch.ones(2, 3))
        work = tmp_path / "work"
        work.mkdir()
        spec = ModelSpec(
            name="m", source=str(made.onnx), outputs=("plus", "x_sum"), signatures={"s": {"outputs": ["x_sum"]}}
        )
        default, only = export(load(spec, base=tmp_path), spec, work)
        assert signature_text(default) == "x=float32[batch,3] -> plus=float32[batch,3] x_sum=float32[batch]"
        assert signature_text(only) == "x=float32[batch,3] -> x_sum=float32[batch]"
        for exported in (default, only):
            assert assert_same_answers(exported, tolerance=0) == BATCHES

    def test_an_onnx_file_has_its_opset(self, tmp_path: Path) -> None:
        (made,) = export_module(Net(), tmp_path, torch.ones(2, 3))
        spec = ModelSpec(name="m", source=str(made.onnx), opset=18)
        loaded = load(spec, base=tmp_path)
        with pytest.raises(UsageError, match="--opset 18 does not apply"):
            export(loaded, spec, tmp_path)
        with pytest.raises(ExportError, match="reads ONNX up to opset 15"):
            export(loaded, spec.model_copy(update={"opset": None}), tmp_path, max_opset=15)

    @pytest.mark.filterwarnings("ignore:.*torch.jit")
    def test_torchscript_keeps_loops_defaults_and_methods(self, tmp_path: Path) -> None:
        torch.jit.save(torch.jit.script(Loop()), tmp_path / "m.pt")
        rows = {"both": {"method": "both"}, "second": {"method": "both", "outputs": ["output_1"]}}
        spec = ModelSpec(name="m", source="m.pt", inputs=("x=float32[batch,3]",), signatures=rows)
        default, both, second = export(load(spec, base=tmp_path), spec, tmp_path)
        assert "Loop" in [node.op_type for node in onnx.load(default.onnx).graph.node]
        assert default.signature.outputs[0].dims[0] == "batch"
        assert both.signature.output_names == ("output_0", "output_1")
        assert second.signature.output_names == ("output_1",)
        for exported in (default, both, second):
            assert assert_same_answers(exported) == BATCHES


class RelativeBias(nn.Module):
    """Attention with a learned bias by relative place, as BEiT and T5 have it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(50, 4))
        self.places = torch.arange(17)[:, None] + torch.arange(17)

    def forward(self, x: Tensor) -> Tensor:
        heads = x.unflatten(2, (4, 16)).transpose(1, 2)
        bias = self.table[self.places.flatten()].view(17, 17, 4).permute(2, 0, 1).contiguous()[None]
        mixed = nn.functional.scaled_dot_product_attention(heads, heads, heads, bias)
        return mixed.transpose(1, 2).reshape(x.shape[0], 17, 64)


def test_attention_with_a_learned_bias(tmp_path: Path) -> None:
    (exported,) = export_module(RelativeBias(), tmp_path, torch.randn(2, 17, 64))
    assert "Attention" in {node.op_type for node in onnx.load(exported.onnx).graph.node}
    assert_same_answers(exported)

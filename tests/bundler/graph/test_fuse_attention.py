"""FuseAttention folds the scale into the query's weights and transposes the key once, or gives a reason."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import helper
from onnx_ir.passes import common
from torch import nn

from bundler.graph.fuse_attention import FuseAttention
from bundler.graph.fuse_linear import FuseLinear
from bundler.graph.infer import infer_shapes
from tests.bundler.converters.native.oracle import array, assert_agrees, model_of

X = {"x": array(2, 5, 12)}
HEADS = [0, 5, 3, 4]
CONSTANTS: dict[str, Any] = {
    "w": array(12, 12, seed=1), "b": array(12, seed=2), "v": array(12, 12, seed=3), "wqkv": array(12, 36, seed=4),
    "heads": np.array(HEADS, np.int64), "three": np.array([0, 5, 3, 3, 4], np.int64), "half": np.float32(0.5),
    "eight": np.float32(8.0), "mask": array(1, 1, 5, 5, seed=5), "first": np.array(0, np.int64), "second": np.array(1, np.int64),
    "zero": np.array([0], np.int64), "one": np.array([1], np.int64), "two": np.array([2], np.int64),
    "vector": array(4, seed=6), "sizes": np.array([1, 1, 1], np.int64),
}  # fmt: skip


def node(op_type: str, inputs: str, outputs: str, name: str = "", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs.split(), outputs.split(), name, **attributes)


PROJECTED = [
    node("MatMul", "x w", "xw"), node("Add", "xw b", "ql"), node("MatMul", "x v", "kl"), node("Reshape", "ql heads", "qh"),
    node("Reshape", "kl heads", "kh"), node("Transpose", "qh", "q", perm=[0, 2, 1, 3]),
    node("Transpose", "kh", "kt", perm=[0, 2, 3, 1]),
]  # fmt: skip
BOTH = [node("Mul", "q half", "qs"), node("Mul", "kt half", "ks"), node("MatMul", "qs ks", "s", "scores")]
AFTER = [node("MatMul", "q kt", "raw", "scores"), node("Div", "raw eight", "s")]
SOFTMAX = [node("Softmax", "s", "y", axis=-1)]
MASKED = [node("Add", "s mask", "masked"), node("Softmax", "masked", "y", axis=-1)]
AT_ONCE = [
    node("MatMul", "x wqkv", "all"), node("Reshape", "all three", "split"),
    node("Transpose", "split", "parts", perm=[2, 0, 3, 1, 4]),
]  # fmt: skip
SLICED = [
    node("Slice", "parts zero one zero", "q1"), node("Squeeze", "q1 zero", "q"), node("Slice", "parts one two zero", "k1"),
    node("Squeeze", "k1 zero", "k"), node("Transpose", "k", "kt", perm=[0, 1, 3, 2]),
]  # fmt: skip
GATHERED = [
    node("Gather", "parts first", "q", axis=0), node("Gather", "parts second", "k", axis=0),
    node("Transpose", "k", "kt", perm=[0, 1, 3, 2]),
]  # fmt: skip
SPLIT = [
    node("Split", "parts sizes", "q1 k1 v1", axis=0), node("Squeeze", "q1 zero", "q"), node("Squeeze", "k1 zero", "k"),
    node("Transpose", "k", "kt", perm=[0, 1, 3, 2]),
]  # fmt: skip

FOLDED = {
    "both sides": [*PROJECTED, *BOTH, *SOFTMAX],
    "after the product, with a mask": [*PROJECTED, *AFTER, *MASKED],
    "sliced from one projection": [*AT_ONCE, *SLICED, *BOTH, *SOFTMAX],
    "gathered from one projection": [*AT_ONCE, *GATHERED, *AFTER, *SOFTMAX],
    "split from one projection": [*AT_ONCE, *SPLIT, *BOTH, *MASKED],
}


def fused(model: onnx.ModelProto) -> tuple[list[str], FuseAttention]:
    fusion, graph = FuseAttention(), ir.from_proto(model)
    graph = common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph).model
    infer_shapes(graph)
    return [n.op_type for n in fusion(FuseLinear()(graph).model).model.graph], fusion


def model(nodes: Sequence[onnx.NodeProto], inputs: dict[str, Any] = X, outputs: Sequence[str] = ("y",)) -> onnx.ModelProto:
    used = {name for n in nodes for name in n.input}
    return model_of(nodes, inputs, outputs, {k: v for k, v in CONSTANTS.items() if k in used})


@pytest.mark.parametrize("nodes", FOLDED.values(), ids=FOLDED)
def test_scale_is_folded_into_the_projection(nodes: list[onnx.NodeProto]) -> None:
    operators, fusion = fused(model(nodes))
    assert "Mul" not in operators and "Div" not in operators
    assert (fusion.fused, fusion.declined) == (1, [])
    assert_agrees(model(nodes), X, {"x": array(3, 5, 12, seed=9)})


def test_scales_of_both_sides_become_one_if_the_query_is_not_a_projection() -> None:
    nodes = [*PROJECTED[:-2], node("Relu", "qh", "qr"), node("Transpose", "qr", "q", perm=[0, 2, 1, 3]), PROJECTED[-1]]
    operators, fusion = fused(model([*nodes, *BOTH, *SOFTMAX]))
    assert operators.count("Mul") == 1 and fusion.fused == 1
    assert_agrees(model([*nodes, *BOTH, *SOFTMAX]), X)


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("flat", [True, False])
def test_scale_of_an_attention_operator_is_folded(flat: bool, scale: float | None) -> None:
    attributes = {} if scale is None else {"scale": scale}
    if flat:
        nodes = [*PROJECTED[:3], node("Attention", "ql kl kl", "y", q_num_heads=3, kv_num_heads=3, **attributes)]
    else:
        key = node("Transpose", "kh", "k", perm=[0, 2, 1, 3])
        nodes = [*PROJECTED[:-1], key, node("Attention", "q k k", "y", **attributes)]
    built = model_of(nodes, X, ["y"], {k: v for k, v in CONSTANTS.items() if any(k in n.input for n in nodes)}, opset=23)
    _, fusion = fused(built)
    assert (fusion.fused, fusion.declined) == (1, [])
    assert_agrees(built, X)


DECLINED: dict[str, tuple[list[onnx.NodeProto], tuple[str, ...], str]] = {
    "no projection": ([node("Relu", "x", "ql"), *PROJECTED[2:], *AFTER, *SOFTMAX], ("y",), "from a projection"),
    "the query is read elsewhere": ([*PROJECTED, *AFTER, *SOFTMAX, node("Relu", "q", "z")], ("y", "z"), "not read the query."),
    "the projection is an output": ([*PROJECTED, *AFTER, *SOFTMAX], ("y", "ql"), "The projection must not be a graph output"),
    "the projection is read whole": (
        [*AT_ONCE, *SLICED, *AFTER, *SOFTMAX, node("Relu", "parts", "z")], ("y", "z"), "of the projection",
    ),
    "its part is read twice": (
        [*AT_ONCE, *SLICED, *AFTER, *SOFTMAX, node("Slice", "parts zero two zero", "z")], ("y", "z"), "of the projection",
    ),
    "a part of the rows": (
        [*PROJECTED, node("Slice", "q zero two two", "part"), node("MatMul", "part kt", "raw", "scores"),
         node("Div", "raw eight", "s"), *SOFTMAX],
        ("y",), "an axis of the channels",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "outputs", "reason"), DECLINED.values(), ids=DECLINED)
def test_declines_with_a_reason(nodes: list[onnx.NodeProto], outputs: tuple[str, ...], reason: str) -> None:
    built = model(nodes, outputs=outputs)
    operators, fusion = fused(built)
    assert "Div" in operators
    assert [(match.node, reason in match.reason) for match in fusion.declined] == [("scores", True)]
    assert_agrees(built, X)


def test_half_precision_keeps_both_scales() -> None:
    casts = [node("Cast", "x", "half_x", to=onnx.TensorProto.FLOAT16), node("Cast", "half", "h", to=onnx.TensorProto.FLOAT16)]
    body = [
        node("Transpose", "half_x", "t", perm=[0, 2, 1]), node("Mul", "half_x h", "qs"), node("MatMul", "qs t", "s", "scores"),
        node("Softmax", "s", "y", axis=-1),
    ]  # fmt: skip
    constants = {"h": np.float16(0.5)}
    built = model_of([casts[0], *body], X, ["y"], constants)
    _, fusion = fused(built)
    assert [match.reason.startswith("Half precision") for match in fusion.declined] == [True]


def test_product_without_softmax_is_not_a_candidate() -> None:
    _, fusion = fused(model([*PROJECTED, *AFTER, node("Relu", "s", "y")]))
    assert (fusion.fused, fusion.declined) == (0, [])


class SelfAttention(nn.Module):
    """Attention with one projection each for query, key and value, or with a single one for all, as in ViT."""

    def __init__(self, *, at_once: bool, masked: bool) -> None:
        super().__init__()
        self.projection = nn.ModuleList([nn.Linear(24, 72)] if at_once else [nn.Linear(24, 24) for _ in range(3)])
        self.masked = masked

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        if len(self.projection) == 1:
            query, key, value = self.projection[0](x).reshape(batch, length, 3, 3, 8).permute(2, 0, 3, 1, 4).unbind(0)
        else:
            query, key, value = (layer(x).view(batch, length, 3, 8).transpose(1, 2) for layer in self.projection)
        mask = torch.ones(length, length, dtype=torch.bool, device=x.device).tril() if self.masked else None
        y = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return y.transpose(1, 2).reshape(batch, length, 24)


@pytest.mark.sample(4)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("dynamo", [False, True])
def test_attention_exported_by_torch_is_fused(dynamo: bool, at_once: bool, masked: bool) -> None:
    """The result has one Transpose each for query, key, value and result, no scale, and no Reshape of the key."""
    torch.manual_seed(0)
    module, x = SelfAttention(at_once=at_once, masked=masked).eval(), torch.randn(2, 7, 24)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            dynamic = {"x": {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", min=2)}}
            torch.onnx.export(module, (x,), file, dynamo=True, verbose=False, dynamic_shapes=dynamic, input_names=["x"])
        else:
            axes = {"x": {0: "batch", 1: "length"}}
            torch.onnx.export(module, (x,), file, dynamo=False, opset_version=17, input_names=["x"], dynamic_axes=axes)
    built = onnx.load_from_string(file.getvalue())
    operators, fusion = fused(built)
    assert fusion.fused == 1
    assert "Mul" not in operators, fusion.declined
    if dynamo:
        assert operators.count("Transpose") == (3 if at_once else 5), operators
    assert_agrees(built, {"x": x.numpy()}, {"x": array(3, 11, 24)})

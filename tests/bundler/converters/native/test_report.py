"""Errors about nodes: which operators, nodes and lines of the user's model they name."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from bundler.converters.native import NativeConverter
from bundler.converters.native.report import rejected
from bundler.errors import ConversionError, UnsupportedOpsError
from bundler.graph.provenance import STACK_TRACE
from tests.bundler.converters.native.oracle import array, model_of, native

TRACE = """File "/home/ada/model.py", line {line}, in forward
    {code}
File "/usr/lib/python3/site-packages/torch/nn/functional.py", line 9, in call
    return inner(x)"""


def unsupported_model() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Wavelet", ["x"], ["a"], domain="ada", name="wavelet"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Wavelet", ["b"], ["c"], domain="ada", name="wavelet_again"),
        helper.make_node("Curvelet", ["c"], ["y"], domain="ada", name="curvelet"),
    ]
    lines = ["a = wavelet(x)", "b = relu(a)", "c = wavelet(b)", "y = curvelet(c)"]
    for line, (node, code) in enumerate(zip(nodes, lines, strict=True), start=11):
        trace = TRACE.format(line=line, code=code)
        node.metadata_props.append(onnx.StringStringEntryProto(key=STACK_TRACE, value=trace))
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 3]) for n in "xy"]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("ada", 1)])


def test_one_error_names_all_unsupported_operators_with_the_users_lines() -> None:
    with pytest.raises(UnsupportedOpsError) as caught:
        native(unsupported_model())
    text = str(caught.value)
    assert "2 operators of the model cannot be converted" in text
    assert "ada::Wavelet (2 nodes)" in text
    assert "ada::Curvelet (1 node)" in text
    assert "/home/ada/model.py:11 in forward: a = wavelet(x)" in text
    assert "/home/ada/model.py:14 in forward: y = curvelet(c)" in text
    assert "site-packages" not in text
    assert caught.value.fix is not None


class TwoUnsupported(torch.nn.Module):
    """Two operators that torch exports and the engine has no handler for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = torch.onnx.ops.symbolic("conformance::Wavelet", (x,), dtype=x.dtype, shape=x.shape, version=1)
        return torch.onnx.ops.symbolic("conformance::Curvelet", (a + 1,), dtype=x.dtype, shape=x.shape, version=1)


def test_unsupported_operators_of_a_torch_model_are_listed_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "custom.onnx"
    program = torch.onnx.export(TwoUnsupported().eval(), (torch.ones(2, 3),), dynamo=True, verbose=False)
    assert program is not None
    program.save(str(path))
    with pytest.raises(UnsupportedOpsError) as caught:
        NativeConverter().convert({"serving_default": path})
    text = str(caught.value)
    assert "conformance::Wavelet" in text
    assert "conformance::Curvelet" in text
    assert f"{Path(__file__).name}:" in text
    assert 'a = torch.onnx.ops.symbolic("conformance::Wavelet"' in text
    assert 'return torch.onnx.ops.symbolic("conformance::Curvelet"' in text


def test_one_error_lists_all_rejected_nodes() -> None:
    nodes = [
        helper.make_node("Dropout", ["x", "ratio", "training"], ["a"], name="first"),
        helper.make_node("Dropout", ["a", "ratio", "training"], ["y"], name="second"),
    ]
    constants = {"ratio": array(), "training": array() < 9}
    with pytest.raises(ConversionError) as caught:
        native(model_of(nodes, {"x": array(2, 3)}, ["y"], constants))
    text = str(caught.value)
    assert "2 nodes of the model cannot be converted" in text
    assert "first" in text and "second" in text
    assert "model.eval()" in str(caught.value.fix)


def test_a_single_rejected_node_keeps_its_own_error() -> None:
    error = ConversionError("Dropout is in training mode.", where="node", fix="call model.eval()")
    assert rejected([error]) is error


def test_an_exception_of_a_handler_names_the_node() -> None:
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], name="upsample", coordinate_transformation_mode="diagonal")
    constants = {"scales": array(4) * 0 + 1.5}
    with pytest.raises(ConversionError, match=r"Resize is not supported here: .*'diagonal' is not defined") as caught:
        native(model_of([node], {"x": array(2, 3, 4, 4)}, ["y"], constants, dynamic={"x": [2, 3, 4, 4]}))
    assert "upsample" in str(caught.value.where)
    assert "the limit is tfbundle's" in str(caught.value.fix)
    assert "onnx.checker" not in str(caught.value)


def test_an_unexpected_exception_names_the_users_line_and_does_not_call_the_model_invalid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise KeyError("boom")

    monkeypatch.setattr("bundler.converters.native.lowering.call", explode)
    node = helper.make_node("Softsign", ["x"], ["y"], name="soft")
    node.metadata_props.append(
        onnx.StringStringEntryProto(key=STACK_TRACE, value=TRACE.format(line=7, code="y = softsign(x)"))
    )
    with pytest.raises(ConversionError, match="Softsign is not supported here") as caught:
        native(model_of([node], {"x": array(2, 3)}, ["y"]))
    assert "node 'soft' (Softsign" in str(caught.value.where)
    assert "/home/ada/model.py:7 in forward: y = softsign(x)" in str(caught.value.where)
    assert "valid" not in str(caught.value) and "onnx.checker" not in str(caught.value)


def test_a_node_that_onnx_itself_rejects_is_called_invalid() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [onnx.numpy_helper.from_array(array(4, 5), "w")],
    )  # fmt: skip
    with pytest.raises(ConversionError, match=r"MatMul breaks a rule of ONNX: .*Incompatible dimensions") as caught:
        native(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))
    assert "onnx.checker" in str(caught.value.fix)

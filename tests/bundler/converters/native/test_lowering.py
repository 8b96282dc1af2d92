"""The walk over the graph: what it reports, folds and shares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from bundler.converters.native import NativeConverter
from bundler.errors import ConversionError, UnsupportedOpsError
from bundler.graph.provenance import STACK_TRACE
from tests.bundler.converters.native.oracle import array, assert_agrees, model_of, native

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
    """Two operators that torch exports and the engine does not know."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = torch.onnx.ops.symbolic("conformance::Wavelet", (x,), dtype=x.dtype, shape=x.shape, version=1)
        return torch.onnx.ops.symbolic("conformance::Curvelet", (a + 1,), dtype=x.dtype, shape=x.shape, version=1)


def test_a_torch_model_with_two_custom_operators(tmp_path: Path) -> None:
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


def test_a_value_that_nothing_makes_is_an_error() -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["missing"], ["y"])], "g", [helper.make_tensor_value_info("x", 1, [2])],
        [helper.make_tensor_value_info("y", 1, [2])],
    )  # fmt: skip
    with pytest.raises(ConversionError):
        native(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))


def test_constants_are_folded() -> None:
    nodes = [
        helper.make_node("Mul", ["a", "b"], ["c"]),
        helper.make_node("Exp", ["c"], ["d"]),
        helper.make_node("Add", ["x", "d"], ["y"]),
    ]
    x = array(2, 3)
    converted = assert_agrees(model_of(nodes, {"x": x}, ["y"], {"a": array(3), "b": array(3, seed=1)}), {"x": x})
    ops = {n.op for n in converted._functions["serving_default"].graph.as_graph_def().node}
    assert not {"Exp", "Mul"} & ops


def test_a_weight_of_two_signatures_is_one_variable() -> None:
    from bundler.converters.native.model import NativeModel
    from bundler.graph.load import from_proto
    from bundler.graph.normalize import normalize

    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = model_of([product], {"x": array(2, 128)}, ["y"], {"w": array(128, 128)})
    models = {name: normalize(from_proto(model)) for name in ("serving_default", "again")}
    assert len(NativeModel(models)._variables) == 1


def test_models_of_old_opsets_mean_what_they_did() -> None:
    """Softmax before opset 13 flattens to two axes; ONNX Runtime is the judge."""
    x = array(2, 3, 4)
    narrow = x[:, :1]
    for node, given, opset in (
        (helper.make_node("Softmax", ["x"], ["y"], axis=1), x, 11),
        (helper.make_node("Squeeze", ["x"], ["y"], axes=[1]), narrow, 11),
        (helper.make_node("Clip", ["x"], ["y"], min=-0.5, max=0.5), x, 9),
    ):
        assert_agrees(model_of([node], {"x": given}, ["y"], opset=opset), {"x": given})


def test_opsets_before_seven_are_refused_where_operators_changed() -> None:
    x = array(2, 3)
    old = model_of([helper.make_node("Transpose", ["x"], ["y"])], {"x": x}, ["y"], opset=7)
    del old.opset_import[:]
    old.opset_import.append(helper.make_opsetid("", 5))
    with pytest.raises(ConversionError) as caught:
        native(old_batch_normalization())
    assert "opset 5; the oldest one supported is 6" in str(caught.value)
    np.testing.assert_array_equal(native(old)(x=x)["y"].numpy(), x.T)


def old_batch_normalization() -> onnx.ModelProto:
    names = ["x", "g", "b", "m", "v"]
    inputs = [helper.make_tensor_value_info(n, 1, [1, 3, 2, 2] if n == "x" else [3]) for n in names]
    graph = helper.make_graph(
        [helper.make_node("BatchNormalization", names, ["y"], consumed_inputs=[0, 0, 0, 1, 1], is_test=1)], "g", inputs,
        [helper.make_tensor_value_info("y", 1, [1, 3, 2, 2])],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 5)])

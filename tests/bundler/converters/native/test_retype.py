from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tensorflow as tf

from bundler.converters.native import NativeConverter, retype
from bundler.converters.native.retype import Bfloat16Model, in_bfloat16
from bundler.errors import ConversionError

HIDDEN = 256
RNG = np.random.default_rng(0)


def saved(path: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, path)
    return path


def array(name: str, *shape: int) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(RNG.standard_normal(shape).astype(np.float32) / 8, name)


def text_model(*, activation: str = "Relu", width: int = 4) -> onnx.ModelProto:
    """Return a model of two products that reads a table of embeddings."""
    nodes = [
        onnx.helper.make_node("Gather", ["table", "ids"], ["embedded"]),
        onnx.helper.make_node("MatMul", ["embedded", "first"], ["product"]),
        onnx.helper.make_node(activation, ["product"], ["active"]),
        onnx.helper.make_node("MatMul", ["active", "second"], ["scores"]),
    ]
    weights = [array("table", 300, HIDDEN), array("first", HIDDEN, HIDDEN), array("second", HIDDEN, width)]
    make = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "text", [make("ids", onnx.TensorProto.INT64, ["batch", 3])],
        [make("scores", onnx.TensorProto.FLOAT, ["batch", 3, width])], weights,
    )  # fmt: skip
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = saved(tmp_path_factory.mktemp("retype") / "text.onnx", text_model())
    return NativeConverter().convert({"serving_default": path, "again": path})


def test_weights_are_halved_and_signatures_stay(model: Any, tmp_path: Path) -> None:
    lowered = NativeConverter().in_bfloat16(model)
    assert isinstance(lowered, Bfloat16Model) and lowered.signatures == model.signatures
    lowered.save(tmp_path / "lowered")
    model.save(tmp_path / "base")
    sizes = [sum(f.stat().st_size for f in (tmp_path / name / "variables").iterdir()) for name in ("lowered", "base")]
    assert 0.49 < sizes[0] / sizes[1] < 0.52
    loaded = tf.saved_model.load(str(tmp_path / "lowered"))
    ids = np.array([[0, 7, 299]])
    for name in ("serving_default", "again"):
        answer = loaded.signatures[name](ids=tf.constant(ids))["scores"]
        want = model.run(name, {"ids": ids})["scores"].numpy()
        assert answer.dtype == tf.float32
        error = np.linalg.norm(answer.numpy() - want) / np.linalg.norm(want)
        assert 1e-5 < error < 1e-2


def test_signatures_share_one_variable_for_each_weight(model: Any) -> None:
    functions = {name: model._functions[name] for name in ("serving_default", "again")}
    _, variables = in_bfloat16(functions, model._variables)
    assert len(variables) == len(model._variables)
    assert {variable.dtype for variable in variables} == {tf.bfloat16}


@pytest.mark.parametrize(("limit", "variables"), [(1 << 30, ["table"]), (1, ["first", "table"])])
def test_weights_that_only_products_read_are_constants_up_to_a_limit(
    limit: int, variables: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retype, "CONSTANT_BYTES", limit)
    converted = NativeConverter().convert({"serving_default": saved(tmp_path / "text.onnx", text_model())})
    lowered = NativeConverter().in_bfloat16(converted)
    assert sorted(variable.name.partition(":")[0] for variable in lowered._variables) == variables
    lowered.save(tmp_path / "saved")
    ids = np.array([[5, 6, 7]])
    answer = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"](ids=tf.constant(ids))["scores"]
    np.testing.assert_allclose(answer.numpy(), converted(ids=ids)["scores"].numpy(), atol=0.02)


def test_a_weight_that_float32_operators_read_too_is_cast(tmp_path: Path) -> None:
    proto = text_model(width=HIDDEN)
    proto.graph.node.append(onnx.helper.make_node("Exp", ["second"], ["curve"]))
    proto.graph.node.append(onnx.helper.make_node("Gather", ["curve", "ids"], ["rows"]))
    proto.graph.node.append(onnx.helper.make_node("Add", ["scores", "rows"], ["sum"]))
    proto.graph.output[0].name = "sum"
    converted = NativeConverter().convert({"serving_default": saved(tmp_path / "shared.onnx", proto)})
    lowered = NativeConverter().in_bfloat16(converted)
    ids = np.array([[1, 2, 3]])
    want, got = converted(ids=ids)["sum"].numpy(), lowered(ids=ids)["sum"].numpy()
    assert np.linalg.norm(got - want) / np.linalg.norm(want) < 1e-2


def test_the_check_of_input_shapes_stays(tmp_path: Path) -> None:
    proto = text_model()
    proto.graph.input.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, ["batch", 3, 4]))
    proto.graph.node.append(onnx.helper.make_node("Add", ["scores", "more"], ["sum"]))
    proto.graph.output[0].name = "sum"
    path = saved(tmp_path / "two.onnx", proto)
    NativeConverter().in_bfloat16(NativeConverter().convert({"serving_default": path})).save(tmp_path / "saved")
    function = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="Dims of one name must have the same size"):
        function(ids=tf.zeros([2, 3], tf.int64), more=tf.zeros([1, 3, 4]))


def test_a_model_without_products_is_refused(tmp_path: Path) -> None:
    make = onnx.helper.make_tensor_value_info
    floats = onnx.TensorProto.FLOAT
    node = onnx.helper.make_node("Exp", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "exp", [make("x", floats, ["batch"])], [make("y", floats, ["batch"])])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    converted = NativeConverter().convert({"serving_default": saved(tmp_path / "exp.onnx", proto)})
    with pytest.raises(ConversionError, match="no float32 operator that could compute in bfloat16"):
        NativeConverter().in_bfloat16(converted)

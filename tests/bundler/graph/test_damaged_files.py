"""Damaged and malicious ONNX files are rejected with a clear message, and no file outside their folder is read."""

from __future__ import annotations

import gzip
import os
import random
import time
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import bundler
from bundler.errors import ConversionError, TfbundleError
from tests.fuzz.corpus import Seed, external, hand_written
from tests.fuzz.fuzzer import lay_out
from tests.fuzz.mutations import mutate


def _write(path: Path, text: str) -> Path:
    onnx.save(onnx.parser.parse_model(text), str(path))
    return path


def assert_rejected(path: Path, *words: str) -> None:
    with pytest.raises(ConversionError) as caught:
        bundler.convert(path)
    text = str(caught.value)
    for word in words:
        assert word in text
    assert "to do:" in text


def test_files_without_a_model_are_rejected(tmp_path: Path) -> None:
    empty, packed, folder = tmp_path / "empty.onnx", tmp_path / "packed.onnx", tmp_path / "folder.onnx"
    empty.touch()
    packed.write_bytes(gzip.compress(hand_written()[0].model))
    folder.mkdir()
    assert_rejected(empty, "contains no ONNX graph")
    assert_rejected(packed, "gunzip")
    assert_rejected(folder, "cannot be read")
    assert_rejected(tmp_path / "missing.onnx", "cannot be read")


def _external_tensors(model: onnx.ModelProto) -> list[TensorProto]:
    nodes = model.graph.node
    outer = [*model.graph.initializer, nodes[0].attribute[0].t]
    return outer + [tensor for a in nodes[1].attribute for tensor in a.g.initializer]


@pytest.mark.parametrize("place", ["initializer", "attribute", "branch"])
@pytest.mark.parametrize("location", ["../outside.bin", "link.bin", "{folder}/outside.bin", "a/../../outside.bin"])
def test_external_data_outside_the_folder_is_rejected(tmp_path: Path, location: str, place: str) -> None:
    """The file outside is not even opened: its access time does not change."""
    seed = external()
    model = onnx.load_model_from_string(seed.model)
    initializer, attribute, *branches = _external_tensors(model)
    tensors = {"initializer": [initializer], "attribute": [attribute], "branch": branches}[place]
    for tensor in tensors:
        next(e for e in tensor.external_data if e.key == "location").value = location.format(folder=tmp_path)
    path = lay_out(seed, model.SerializeToString(), tmp_path / "model")
    outside = tmp_path / "outside.bin"
    os.utime(outside, (0, time.time()))  # Linux records the next access even if it does so lazily (relatime)
    assert_rejected(path, "outside of the model's folder")
    with pytest.raises(TfbundleError, match="outside of the model's folder"):
        bundler.build(path, out=tmp_path / "bundle")
    assert outside.stat().st_atime == 0


def test_external_data_is_read_from_everywhere_in_the_model(tmp_path: Path) -> None:
    seed = external()
    converted = bundler.convert(lay_out(seed, seed.model, tmp_path / "model"))
    (y,) = converted(x=[1.0, 1.0, 1.0, 1.0], c=True).values()
    assert y.numpy().tolist() == [(1 + 8 + i + i) * (4 + i) for i in range(4)]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("location", "missing.bin", "missing"),
        ("location", "", "missing"),
        ("location", "weights.bin\0", "missing"),
        ("offset", "60", "too short"),
        ("offset", "-1", "not a number of bytes"),
        ("offset", "1e9", "not a number of bytes"),
        ("length", "8", "takes 16 bytes"),
        ("length", str(2**40), "takes 16 bytes"),
    ],
)
def test_wrong_references_to_external_data_are_rejected(tmp_path: Path, key: str, value: str, words: str) -> None:
    seed = external()
    model = onnx.load_model_from_string(seed.model)
    next(e for e in model.graph.initializer[0].external_data if e.key == key).value = value
    assert_rejected(lay_out(seed, model.SerializeToString(), tmp_path / "model"), words, "'weight'")


def test_hard_link_is_rejected(tmp_path: Path) -> None:
    seed = external()
    path = lay_out(seed, seed.model, tmp_path / "model")
    (tmp_path / "second").hardlink_to(path.with_name("weights.bin"))
    assert_rejected(path, "hard link", "cp --reflink=auto")


@pytest.mark.parametrize("dims", [[2**40], [2**31, 2**31], [3], [-1], [2**63 - 1, 2]])
@pytest.mark.parametrize("field", ["raw_data", "float_data"])
def test_shape_that_does_not_match_its_data_is_rejected(tmp_path: Path, dims: list[int], field: str) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims)
    if field == "raw_data":
        tensor.raw_data = bytes(8)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [tensor],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "m.onnx")
    assert_rejected(tmp_path / "m.onnx", "'w'", "shape")


_HUGE = {
    "ConstantOfShape": "big = ConstantOfShape(n)",
    "Expand": "one = Constant<value = float[1] {1.0}>()  big = Expand(one, n)",
    "Tile": "one = Constant<value = float[1] {1.0}>()  big = Tile(one, n)",
    "Pad": "one = Constant<value = float[1] {1.0}>()  zero = Constant<value_ints = [0]>()"
    "  p = Concat<axis = 0>(zero, n)  big = Pad(one, p)",
    "Range": "a = Constant<value_int = 0>()  s = Constant<value_int = 1>()  m = Squeeze(n)"
    "  r = Range(a, m, s)  big = Cast<to = 1>(r)",
    "OneHot": "i = Constant<value_ints = [0]>()  v = Constant<value_floats = [0.0, 1.0]>()  b = OneHot(i, n, v)"
    "  big = Squeeze(b)",
    "Resize": "one = Constant<value = float[1] {1.0}>()  big = Resize(one, , , n)",
}


@pytest.mark.parametrize("op_type", _HUGE)
@pytest.mark.parametrize("size", [2**40, 2**62])
def test_constant_beyond_memory_is_not_allocated(tmp_path: Path, op_type: str, size: int) -> None:
    """The model is rejected, or the constant is left to run time."""
    text = f"""<ir_version: 8, opset_import: ["" : 21]>
        g (float[1] x) => (float y) <int64[1] n = {{{size}}}> {{ {_HUGE[op_type]}  sum = Add(x, big)
        y = ReduceSum<keepdims = 0>(sum) }}"""
    began = time.process_time()
    try:
        bundler.convert(_write(tmp_path / "m.onnx", text))
    except ConversionError as exc:
        assert op_type in str(exc) or "Add" in str(exc) or "normal form" in str(exc)
    assert time.process_time() - began < 30


def test_long_vector_is_not_taken_for_a_shape(tmp_path: Path) -> None:
    """ONNX's data propagation would write 2^36 dims."""
    text = """<ir_version: 8, opset_import: ["" : 21]>
        g (float[262144,262144] x) => (float y) <int64[1] all = {-1}, float[1] one = {1.0}>
        { flat = Reshape(x, all)  sum = Add(flat, one)  y = ReduceSum<keepdims = 0>(sum) }"""
    converted = bundler.convert(_write(tmp_path / "m.onnx", text))
    assert [spec.name for spec in converted.signatures["serving_default"].outputs] == ["y"]


@pytest.mark.parametrize("attribute", ["strides = [0, 1]", "dilations = [1, 0]", "strides = [1, -2]", "kernel_shape = [0, 2]"])
def test_window_that_would_crash_tensorflow_is_rejected(tmp_path: Path, attribute: str) -> None:
    """TensorFlow divides by the attribute (SIGFPE)."""
    window = attribute if "kernel" in attribute else f"kernel_shape = [2, 2], {attribute}"
    text = f"""<ir_version: 8, opset_import: ["" : 21]> g (float[1,1,4,4] x) => (float[1,1,a,b] y)
        {{ k = ConstantOfShape(n)  p = MaxPool<{window}>(k)  y = Add(x, p) }}"""
    text = text.replace("y)\n", "y) <int64[4] n = {1, 1, 4, 4}>\n")
    assert_rejected(_write(tmp_path / "m.onnx", text), attribute.split(" ")[0])


def test_branch_with_large_weights_is_converted_at_an_old_opset(tmp_path: Path) -> None:
    """Large constants of branches are lifted before ONNX's tools see the model."""
    rows = numpy_helper.from_array(np.arange(4096, dtype=np.float32), "w")
    out = [helper.make_tensor_value_info("a", TensorProto.FLOAT, [4096])]
    branches = {
        name: helper.make_graph([helper.make_node(op_type, ["x", "w"], ["a"])], name, [], out, [rows])
        for name, op_type in (("then_branch", "Add"), ("else_branch", "Sub"))
    }
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [4096]),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4096])]
    graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], **branches)], "g", inputs, outputs)
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    converted = bundler.convert(path)
    assert converted(x=[1.0] * 4096, c=True)["y"].numpy()[-1] == 4096.0
    assert converted(x=[1.0] * 4096, c=False)["y"].numpy()[-1] == -4094.0


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.sampled_from(hand_written()), number=st.integers(0, 2**32))
def test_damaged_model_is_converted_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, seed: Seed, number: int
) -> None:
    path = lay_out(seed, mutate(seed, random.Random(number)), tmp_path_factory.mktemp("damaged") / "model")
    try:
        bundler.convert(path)
    except TfbundleError as exc:
        assert len(str(exc)) < 20_000


@pytest.mark.slow
def test_weights_listed_as_inputs_are_constants(tmp_path: Path) -> None:
    """IR version 3 in a whole build, which lists weights among the inputs."""
    text = """<ir_version: 3, opset_import: ["" : 9]>
        g (float[batch,2] x, float[2,3] w) => (float[batch,3] y) <float[2,3] w = {1, 2, 3, 4, 5, 6}> { y = MatMul(x, w) }"""
    path = _write(tmp_path / "m.onnx", text)
    assert bundler.convert(path)(x=[[1.0, 1.0]])["y"].numpy().tolist() == [[5.0, 7.0, 9.0]]
    bundle = bundler.build(path, out=tmp_path / "bundle")
    assert bundle.models() == ["m"]


def test_output_that_is_an_input_gets_its_own_name(tmp_path: Path) -> None:
    """The model is valid ONNX, but a bundle needs distinct names."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
        g (float[batch,2] x) => (float[batch,2] x, float[batch,2] y) { y = Neg(x) }"""
    bundle = bundler.build(_write(tmp_path / "m.onnx", text), out=tmp_path / "bundle")
    signature = bundle.record("m", 1)["signatures"]["serving_default"]
    assert [spec["name"] for spec in signature["outputs"]] == ["x_output", "y"]


def test_attribute_of_the_wrong_type_is_rejected(tmp_path: Path) -> None:
    """ONNX's own tools crash on the first one (SIGSEGV)."""
    text = """<ir_version: 8, opset_import: ["" : 9]> g (float[2,2] x) => (float[4,4] y) { y = Pad<pads = [1, 1, 1, 1]>(x) }"""
    for kind, words in ((onnx.AttributeProto.GRAPH, "no such value"), (onnx.AttributeProto.FLOAT, "requires ints")):
        model = onnx.parser.parse_model(text)
        model.graph.node[0].attribute[0].type = kind
        onnx.save(model, tmp_path / "m.onnx")
        assert_rejected(tmp_path / "m.onnx", "'pads'", "Pad", words)

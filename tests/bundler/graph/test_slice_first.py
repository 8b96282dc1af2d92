"""SliceFirst takes query, key and value out of the channels before these are split into heads, or gives a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from bundler.graph.infer import infer_shapes
from bundler.graph.slice_first import SliceFirst
from tests.bundler.converters.native.oracle import array, assert_agrees, model_of
from tests.bundler.tflite.lowered import Lowered

INPUTS: dict[str, Any] = {"x": array(2, 5, 24)}
I64 = np.int64


def parts(
    *, form: str = "Gather", perm: tuple[int, ...] | None = (2, 0, 3, 1, 4), axis: int = 0,
    shape: tuple[int, ...] = (2, 5, 3, 2, 4), indices: tuple[int, ...] = (0, 1, -1),
) -> onnx.ModelProto:  # fmt: skip
    """Return a model that splits x [2, 5, 24] into heads, and adds its parts."""
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["heads"])]
    constants: dict[str, Any] = {"shape": np.array(shape, I64), "axes": np.array([axis], I64)}
    if perm:
        nodes.append(helper.make_node("Transpose", ["heads"], ["moved"], perm=perm))
    for number, index in enumerate(indices):
        source = "moved" if perm else "heads"
        if form == "Gather":
            constants[f"i{number}"] = np.array(index, I64)
            nodes.append(helper.make_node("Gather", [source, f"i{number}"], [f"p{number}"], axis=axis))
        else:
            begin = index % 3
            constants |= {f"b{number}": np.array([begin], I64), f"e{number}": np.array([begin + 1], I64)}
            nodes.append(helper.make_node("Slice", [source, f"b{number}", f"e{number}", "axes"], [f"s{number}"]))
            nodes.append(helper.make_node("Squeeze", [f"s{number}", "axes"], [f"p{number}"]))
    nodes += [helper.make_node("Mul", ["p0", "p1"], ["product"]), helper.make_node("Add", ["product", "p2"], ["y"])]
    return model_of(nodes, INPUTS, ["y"], constants, dynamic={"x": [2, 5, 24]})


def fused(model: onnx.ModelProto) -> tuple[list[str], SliceFirst]:
    fusion, graph = SliceFirst(), ir.from_proto(model)
    infer_shapes(graph)
    return [node.op_type for node in fusion(graph).model.graph], fusion


@pytest.mark.sample(4)
@pytest.mark.parametrize("form", ["Gather", "Slice"])
@pytest.mark.parametrize(
    ("perm", "axis", "shape"),
    [
        ((2, 0, 3, 1, 4), 0, (2, 5, 3, 2, 4)), (None, 2, (2, 5, 3, 2, 4)), ((0, 2, 3, 4, 1), 1, (-1, 5, 3, 2, 4)),
        (None, -3, (0, 0, 3, 2, 4)),
    ],
    ids=["timm", "not transposed", "rows inferred", "rows kept"],
)  # fmt: skip
def test_parts_are_taken_from_the_channels(
    tmp_path: Path, form: str, perm: tuple[int, ...] | None, axis: int, shape: tuple[int, ...]
) -> None:
    model = parts(form=form, perm=perm, axis=axis, shape=shape)
    operators, fusion = fused(model)
    assert (fusion.fused, fusion.declined) == (3, [])
    assert [operators.count(name) for name in ("Slice", "Reshape", "Gather", "Squeeze")] == [3, 3, 0, 0]
    assert_agrees(model, INPUTS)
    lowered = Lowered(model, INPUTS, tmp_path)
    lowered.assert_answers()
    assert lowered.delegation.share == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"shape": (2, 5, 2, 3, 4), "perm": (3, 0, 2, 1, 4)}, "the parts must lie along the first of them"),
        ({"shape": (2, 5, 4, 2, 3), "perm": (4, 0, 2, 1, 3)}, "the parts must lie along the first of them"),
        ({"shape": (5, 2, 3, 2, 4), "perm": (0, 2, 1, 3, 4), "axis": 0, "indices": (0, 1, 2)}, "the parts must lie along"),
        ({"shape": (2, 15, 2, 4), "perm": (0, 2, 1, 3), "axis": 1, "indices": (0, 1, 1)}, "The Reshape must split the last axis"),
    ],
)
def test_parts_that_are_not_contiguous_channels_stay(change: dict[str, Any], reason: str) -> None:
    model = parts(**change)
    _, fusion = fused(model)
    assert fusion.fused == 0
    assert len(fusion.declined) == 3 and reason in fusion.declined[0].reason
    assert_agrees(model, INPUTS)


def test_parts_of_something_else_are_passed_over() -> None:
    model = parts(perm=None, axis=0, shape=(3, 4, 5, 4), indices=(0, 1, 2))
    nodes = [node.op_type for node in ir.from_proto(model).graph]
    assert fused(model)[0] == nodes


def test_the_whole_value_is_still_there_for_its_other_readers(tmp_path: Path) -> None:
    model = parts()
    model.graph.node.append(helper.make_node("Identity", ["moved"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [3, 2, 2, 5, 4]))
    operators, fusion = fused(model)
    assert fusion.fused == 3
    assert operators.count("Reshape") == 4
    assert_agrees(model, INPUTS)

"""Sequences whose length, or an element's position, is known only at run time agree with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bundler.values.arrays import Array
from tests.bundler.converters.native.oracle import array, assert_agrees, model_of

Node = helper.make_node
FLOATS = TensorProto.FLOAT


def scalar(number: int) -> Array:
    return np.array(number, np.int64)


def graph(
    nodes: list[onnx.NodeProto], inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
) -> onnx.GraphProto:
    return helper.make_graph(nodes, "inner", list(inputs), list(outputs))


def loop_over(nodes: list[onnx.NodeProto], condition: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return a Loop of n steps whose body adds an element `e` to a sequence, and the concatenation of the result."""
    flag, sequence = helper.make_tensor_value_info, helper.make_tensor_sequence_value_info
    body = graph(
        [*nodes, Node("SequenceInsert", ["before", "e"], ["after"]), condition],
        [flag("i", TensorProto.INT64, []), flag("go", TensorProto.BOOL, []), sequence("before", FLOATS, None)],
        [flag("on", TensorProto.BOOL, []), sequence("after", FLOATS, None)],
    )
    return [
        Node("SequenceEmpty", [], ["empty"]), Node("Loop", ["n", "", "empty"], ["q"], body=body),
        Node("ConcatFromSequence", ["q"], ["y"], axis=0),
    ]  # fmt: skip


_PAIR = Node("SequenceConstruct", ["x", "z"], ["q"])
_NEGATED = graph([Node("Neg", ["e"], ["f"])], *([helper.make_tensor_value_info(n, FLOATS, None)] for n in "ef"))
_BRANCHES = {
    name: graph([Node("SequenceConstruct", items, [name])], [], [helper.make_tensor_sequence_value_info(name, FLOATS, None)])
    for name, items in (("then_branch", ["x", "x"]), ("else_branch", ["x"]))
}
_ROWS = Node("SplitToSequence", ["x"], ["q"], axis=0)

CASES: dict[str, tuple[list[onnx.NodeProto], list[Mapping[str, Array]], dict[str, Array]]] = {
    "rows, one taken": (
        [_ROWS, Node("SequenceAt", ["q", "p"], ["y"])],
        [{"x": array(2, 4), "p": scalar(1)}, {"x": array(5, 4), "p": scalar(-1)}], {},
    ),
    "rows without their axis, stacked again": (
        [Node("SplitToSequence", ["x"], ["q"], axis=0, keepdims=0), Node("ConcatFromSequence", ["q"], ["y"], axis=0, new_axis=1)],
        [{"x": array(2, 4)}, {"x": array(5, 4)}], {},
    ),
    "chunks of two": (
        [Node("SplitToSequence", ["x", "two"], ["q"], axis=0), Node("SequenceAt", ["q", "one"], ["y"])],
        [{"x": array(n, 4)} for n in (3, 4, 7)], {"two": scalar(2), "one": scalar(1)},
    ),
    "chunks of any size": (
        [Node("SplitToSequence", ["x", "k"], ["q"], axis=0), Node("SequenceAt", ["q", "one"], ["y"])],
        [{"x": array(4, 4), "k": scalar(2)}, {"x": array(7, 4), "k": scalar(3)}], {"one": scalar(1)},
    ),
    "any number of parts": (
        [Node("SplitToSequence", ["x", "k"], ["q"], axis=1), Node("SequenceLength", ["q"], ["n"]),
         Node("ConcatFromSequence", ["q"], ["y"], axis=-1)],
        [{"x": array(4, 5), "k": np.array([1, 4])}, {"x": array(4, 5), "k": np.array([2, 2, 1])}], {},
    ),
    "one of two shapes": (
        [_PAIR, Node("SequenceAt", ["q", "p"], ["y"])],
        [{"x": array(2, 4), "z": array(3, 4), "p": scalar(p)} for p in (1, -2)], {},
    ),
    "any element erased and another inserted": (
        [_PAIR, Node("SequenceErase", ["q", "p"], ["e"]), Node("SequenceInsert", ["e", "x", "p"], ["f"]),
         Node("ConcatFromSequence", ["f"], ["y"], axis=0)],
        [{"x": array(2, 4), "z": array(3, 4), "p": scalar(p)} for p in (1, 0)], {},
    ),
    "rows, any of them erased and another inserted": (
        [_ROWS, Node("SequenceErase", ["q", "p"], ["e"]), Node("SequenceInsert", ["e", "x", "p"], ["f"]),
         Node("ConcatFromSequence", ["f"], ["y"], axis=0)],
        [{"x": array(3, 4), "p": scalar(p)} for p in (1, 0, 2)], {},
    ),
    "a map over rows": (
        [_ROWS, Node("SequenceMap", ["q"], ["m"], body=_NEGATED), Node("ConcatFromSequence", ["m"], ["y"], axis=0)],
        [{"x": array(2, 4)}, {"x": array(5, 4)}], {},
    ),
    "branches of different lengths": (
        [Node("If", ["c"], ["q"], **_BRANCHES), Node("ConcatFromSequence", ["q"], ["y"], axis=0)],
        [{"x": array(2, 4), "c": np.array(c)} for c in (True, False)], {},
    ),
    "a loop of any number of steps": (
        loop_over([Node("Identity", ["x"], ["e"])], Node("Identity", ["go"], ["on"])),
        [{"x": array(2, 4), "n": scalar(n)} for n in (3, 1)], {},
    ),
    "a loop until a condition of the inputs": (
        loop_over([Node("Neg", ["x"], ["e"])], Node("Less", ["i", "m"], ["on"])),
        [{"x": array(2, 4), "m": scalar(m)} for m in (2, 0)], {"n": scalar(5)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_sequences_of_the_run_time_agree_with_onnx_runtime(name: str) -> None:
    nodes, feeds, constants = CASES[name]
    dims = {k: [f"{k}{i}" if i == 0 else v.shape[i] for i in range(v.ndim)] for k, v in feeds[0].items()}
    made = {output for node in nodes for output in node.output}
    outputs = [o for o in ("y", "n") if o in made]
    assert_agrees(model_of(nodes, feeds[0], outputs, constants, dynamic=dims), *feeds)

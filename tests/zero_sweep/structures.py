"""Models of ai.onnx whose node tests have sequences, subgraphs, random numbers or no inputs with sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.bundler.converters.native.oracle import array
from tests.zero_sweep.cases import SweepCase
from tests.zero_sweep.declared import Input, declared

X = {"x": Input("batch length 8")}
IMAGE = {"x": Input("batch 3 height width")}


def structure_cases() -> Iterator[SweepCase]:
    """Return the cases."""
    for make in (_casts, _random, _lengths, _sequences, _subgraphs, _pools):
        yield from make()


def _case(
    operator: str, nodes: Sequence[onnx.NodeProto], inputs: Mapping[str, Input] = X, constants: Mapping[str, Any] | None = None,
    *, name: str = "", **options: Any,
) -> SweepCase:  # fmt: skip
    """Make a case of nodes that lead to `y`."""
    return declared(name or f"case_{operator}", operator, nodes, inputs, ["y"], constants, **options)


def _node(op_type: str, inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs.split(), output.split(), **attributes)


def _casts() -> Iterator[SweepCase]:
    yield _case("Cast", [_node("Cast", "x", to=TensorProto.INT64)])
    yield _case("CastLike", [_node("CastLike", "x z")], {**X, "z": Input("items", np.int64)})
    normalized = _node("SimplifiedLayerNormalization", "x scale", epsilon=1e-4)
    yield _case("SimplifiedLayerNormalization", [normalized], constants={"scale": array(8)}, opset=17)


def _random() -> Iterator[SweepCase]:
    """The sizes of random numbers."""
    shape = _node("Shape", "r")
    for op_type in ("RandomNormalLike", "RandomUniformLike", "Bernoulli"):
        yield _case(op_type, [_node(op_type, "x", "r"), shape], {"x": Input("batch length", np.float32)})
    drawn = _node("Multinomial", "x", "r", sample_size=6)
    yield _case("Multinomial", [drawn, shape], {"x": Input("batch 4")})


def _lengths() -> Iterator[SweepCase]:
    """Arrays as long as an axis of the input."""
    length = [_node("Shape", "x", "s", start=1, end=2), _node("Squeeze", "s", "n")]
    yield _case("Range", [*length, _node("Range", "zero n one")], constants={"zero": np.int64(0), "one": np.int64(1)})
    for op_type in ("HannWindow", "HammingWindow", "BlackmanWindow"):
        window = _node(op_type, "n")
        yield _case(op_type, [*length, window], {"x": Input("batch length")}, answer=_windows(op_type), dtype=1)


def _windows(op_type: str) -> Any:
    """Return the page's periodic window."""
    factors = {
        "HannWindow": (0.5, 0.5, 0.0),
        "HammingWindow": (25 / 46, 21 / 46, 0.0),
        "BlackmanWindow": (0.42, 0.5, 0.08),
    }
    a, b, c = factors[op_type]

    def answer(x: Any) -> list[Any]:
        angles = 2 * np.pi * np.arange(x.shape[1]) / max(x.shape[1], 1)
        return [(a - b * np.cos(angles) + c * np.cos(2 * angles)).astype(np.float32)]

    return answer


def _sequences() -> Iterator[SweepCase]:
    pair = {**X, "z": Input("batch length 8")}
    made = _node("SequenceConstruct", "x z", "q")
    one = {"one": np.int64(1)}
    yield _case("SequenceConstruct", [made, _node("SequenceLength", "q")], pair)
    yield _case("ConcatFromSequence", [made, _node("ConcatFromSequence", "q", axis=1)], pair)
    yield _case("SequenceAt", [made, _node("SequenceAt", "q one")], pair, one)
    erased = [made, _node("SequenceErase", "q one", "e"), _node("ConcatFromSequence", "e", axis=0)]
    yield _case("SequenceErase", erased, pair, one)
    grown = [
        _node("SequenceEmpty", "", "e"),
        _node("SequenceInsert", "e x", "q"),
        _node("ConcatFromSequence", "q", axis=0),
    ]
    yield _case("SequenceInsert", grown)
    yield _case("SequenceEmpty", grown, name="case_SequenceEmpty")
    yield _case("SequenceLength", [*grown[:2], _node("SequenceLength", "q")])
    split = [_node("SplitToSequence", "x one", "q", axis=2), _node("ConcatFromSequence", "q", axis=2)]
    yield _case("SplitToSequence", split, constants=one)
    body = helper.make_graph(
        [_node("Neg", "item", "negative")], "body", [helper.make_tensor_value_info("item", 1, None)],
        [helper.make_tensor_value_info("negative", 1, None)],
    )  # fmt: skip
    mapped = [made, _node("SequenceMap", "q", "m", body=body), _node("ConcatFromSequence", "m", axis=0)]
    yield _case("SequenceMap", mapped, pair)
    wrapped = [_node("Optional", "x", "o"), _node("OptionalGetElement", "o")]
    yield _case("Optional", wrapped, answer=lambda x: [x], dtype=1)
    held = [_node("Optional", "x", "o"), _node("OptionalHasElement", "o")]
    yield _case("OptionalHasElement", held, answer=lambda x: [np.array(True)], dtype=TensorProto.BOOL)


def _branch(node: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph([node], "branch", [], [helper.make_tensor_value_info(node.output[0], 1, None)])


def _subgraphs() -> Iterator[SweepCase]:
    branches = {"then_branch": _branch(_node("Neg", "x", "t")), "else_branch": _branch(_node("Abs", "x", "f"))}
    chosen = [_node("ReduceSum", "x", "s", keepdims=0), _node("Greater", "s zero", "c"), _node("If", "c", **branches)]
    yield _case("If", chosen, constants={"zero": np.float32(0)})
    yield from _loops()


def _loops() -> Iterator[SweepCase]:
    """Loops with as many steps as the input has rows; what they collect has an axis of that size."""
    scalar = helper.make_tensor_value_info("going", TensorProto.BOOL, [])
    body = helper.make_graph(
        [
            _node("Gather", "x step", "row", axis=0), _node("Add", "total row", "more"), _node("Identity", "going", "still"),
            _node("Mul", "row two", "kept"),
        ],
        "body",
        [helper.make_tensor_value_info("step", TensorProto.INT64, []), scalar, helper.make_tensor_value_info("total", 1, None)],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []), helper.make_tensor_value_info("more", 1, None),
            helper.make_tensor_value_info("kept", 1, None),
        ],
    )  # fmt: skip
    steps = [_node("Shape", "x", "s", start=0, end=1), _node("Squeeze", "s", "n")]
    loop = [*steps, _node("Loop", "n yes start", "sum kept", body=body)]
    constants = {"yes": np.array(True), "start": np.zeros([5, 8], np.float32), "two": np.float32(2)}
    inputs = {"x": Input("batch 5 8")}
    yield _case("Loop", [*loop, _node("Identity", "sum")], inputs, constants, name="loop_carried")
    yield _case("Loop", [*loop, _node("Identity", "kept")], inputs, constants, name="loop_collected")
    begin = _node("ReduceSum", "x zero", "start", keepdims=0)
    grown = {"yes": np.array(True), "zero": np.int64([0]), "two": np.float32(2)}
    collected = [begin, *loop, _node("Identity", "kept")]
    yield _case("Loop", collected, {"x": Input("batch length 8")}, grown, name="loop_collected_of_dynamic_length")


def _pools() -> Iterator[SweepCase]:
    yield _case("GlobalLpPool", [_node("GlobalLpPool", "x", p=2)], IMAGE)
    regions = {**IMAGE, "rois": Input("items 5", np.float32)}
    pooled = _node("MaxRoiPool", "x rois", pooled_shape=[2, 2])
    yield _case("MaxRoiPool", [pooled], {**regions, "rois": Input("items 5", np.float32)})

"""Sizes are followed through the arithmetic that exporters write around a view."""

from __future__ import annotations

import onnx.parser
import onnx_ir as ir
import pytest

from bundler.graph.extents import extents_in, extents_of
from bundler.graph.infer import infer_shapes

TEXT = """<ir_version: 8, opset_import: ["" : 21]>
    g (float[batch,3,4] x) => (int64[n] y) <int64[1] zero = {0}, int64[1] one = {1}, int64[1] rest = {-1}> {
        s = Shape(x)
        first = Slice(s, zero, one)
        y = Concat<axis = 0>(first, rest)
        tail = Shape<start = 1>(x)
        half = Div(tail, one)
    }"""


@pytest.fixture
def values() -> dict[str, ir.Value]:
    graph = ir.from_proto(onnx.parser.parse_model(TEXT))
    infer_shapes(graph)
    return ir.convenience.create_value_mapping(graph.graph)


def test_sizes_known_only_at_run_time_name_their_axis(values: dict[str, ir.Value]) -> None:
    x = values["x"]
    assert extents_of(x) == [(x, 0), 3, 4]
    assert extents_in(values["s"]) == [(x, 0), 3, 4]
    assert extents_in(values["y"]) == [(x, 0), -1]
    assert extents_in(values["tail"]) == [3, 4]


def test_other_arithmetic_has_no_sizes(values: dict[str, ir.Value]) -> None:
    assert extents_in(values["half"]) is None
    assert extents_in(values["x"]) is None
    assert extents_in(None) is None

"""Valid models that the fuzzer starts from: ONNX's node tests, small models of the onnx wheel, and a few defined here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import TensorProto, helper, numpy_helper

from tests.conformance.cases import ml_cases, node_cases, share

LARGEST = 20_000
"""The largest model in bytes: small ones are quick to convert, and more likely to be broken by a mutation."""


@dataclass(frozen=True)
class Seed:
    """A model, and the other files of its folder by name."""

    name: str
    model: bytes
    files: dict[str, bytes] = field(default_factory=dict)


def seeds() -> list[Seed]:
    """Return all seeds, always in the same order."""
    return [*hand_written(), *_wheel(), *_node_tests()]


def _node_tests() -> Iterator[Seed]:
    """Yield a fifth of the cases, which includes every operator, since most have several cases."""
    for name, case in sorted({**node_cases(), **ml_cases()}.items()):
        model = case.model.SerializeToString()
        if share(name) < 20 and len(model) <= LARGEST:
            yield Seed(name, model)


def _wheel() -> Iterator[Seed]:
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for path in sorted(folder.glob("*/*/model.onnx")):
        if path.stat().st_size <= LARGEST:
            yield Seed(path.parent.name, path.read_bytes())


_GRAPHS = {
    "perceptron": """
        <ir_version: 8, opset_import: ["" : 13]>
        g (float[batch,4] x) => (float[batch,3] y) {
            w1 = Constant<value = float[4,3] {1,2,3,4,5,6,7,8,9,10,11,12}>()
            h = MatMul(x, w1)  b = Constant<value = float[3] {1,2,3}>()
            s = Add(h, b)  y = Relu(s)
        }""",
    "view": """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[batch,4,6] x) => (float[batch,n] y) {
            s = Shape(x)  zero = Constant<value_ints = [0]>()  n = Gather(s, zero)
            rest = Constant<value_ints = [-1]>()  shape = Concat<axis = 0>(n, rest)  y = Reshape(x, shape)
        }""",
    "sizes": """
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[2,1] x) => (float[m,n] y)
        <int64[2] shape = {2, 3}, int64[2] times = {1, 2}, int64[4] pads = {0, 1, 0, 1}> {
            a = Expand(x, shape)  b = Tile(a, times)  c = Pad(b, pads)
            filled = ConstantOfShape<value = float[1] {1.0}>(times)  y = Add(c, filled)
        }""",
    "numbers": """
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[1,1,2,2] x) => (float[a,b,c,d] y)
        <int64 start = {0}, int64 stop = {6}, int64 step = {1}, int64[4] sizes = {1,1,4,4}, float[2] values = {0.0,1.0}> {
            r = Range(start, stop, step)  depth = Constant<value_int = 6>()
            hot = OneHot(r, depth, values)  total = ReduceSum<keepdims = 0>(hot)
            big = Resize<mode = "linear">(x, , , sizes)  y = Mul(big, total)
        }""",
    "branch": """
        <ir_version: 8, opset_import: ["" : 16]>
        g (bool c, float[2] x) => (float[2] y) {
            y = If(c) <
                then_branch = t () => (float[2] a) { k = Constant<value = float[2] {1,2}>()  a = Add(x, k) },
                else_branch = e () => (float[2] b) { b = Neg(x) }
            >
        }""",
    "loop": """
        <ir_version: 8, opset_import: ["" : 16]>
        g (int64 n, float[2] x) => (float[2] y, float[m,2] steps) {
            yes = Constant<value = bool {1}>()
            y, steps = Loop(n, yes, x) <
                body = b (int64 i, bool go, float[2] s) => (bool again, float[2] t, float[2] u) {
                    again = Identity(go)  t = Add(s, x)  u = Mul(t, t) }
            >
        }""",
    "network": """
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[batch,2,6,6] x) => (float[batch,3] y) {
            w = Constant<value = float[3,2,1,1] {1,2,3,4,5,6}>()
            c = Conv<kernel_shape = [1,1], strides = [2,2]>(x, w)  r = Relu(c)
            p = MaxPool<kernel_shape = [2,2]>(r)  m = GlobalAveragePool(p)  y = Flatten(m)
        }""",
    "function": """
        <ir_version: 8, opset_import: ["" : 17, "own" : 1]>
        g (float[2] x) => (float[2] y) { z = own.twice(x)  y = own.twice(z) }
        <domain: "own", opset_import: ["" : 17]>
        twice (a) => (b) { b = Add(a, a) }""",
}


def hand_written() -> list[Seed]:
    """Return models with features that are rare in the node tests: computed shapes, control flow, functions, external data."""
    parsed = [Seed(name, onnx.parser.parse_model(text).SerializeToString()) for name, text in _GRAPHS.items()]
    return [*parsed, external(), recurrent()]


def external() -> Seed:
    """Return a model with a weight, an attribute and a tensor of a subgraph in `weights.bin`."""
    data = np.arange(16, dtype=np.float32)

    def tensor(name: str, offset: int) -> TensorProto:
        proto = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
        for key, value in (("location", "weights.bin"), ("offset", str(offset)), ("length", "16")):
            proto.external_data.add(key=key, value=value)
        return proto

    branch = helper.make_graph(
        [helper.make_node("Add", ["x", "inner"], ["a"])], "branch", [],
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, [4])], [tensor("inner", 32)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Constant", [], ["attribute"], value=tensor("value", 16)),
        helper.make_node("If", ["c"], ["chosen"], then_branch=branch, else_branch=branch),
        helper.make_node("Add", ["chosen", "weight"], ["sum"]),
        helper.make_node("Mul", ["sum", "attribute"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [4]),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [tensor("weight", 0)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Seed("external", model.SerializeToString(), {"weights.bin": data.tobytes()})


def recurrent() -> Seed:
    rng = np.random.default_rng(0)
    weights = {"w": (1, 8, 3), "r": (1, 8, 2), "b": (1, 16)}
    graph = helper.make_graph(
        [helper.make_node("LSTM", ["x", "w", "r", "b"], ["y", "h"], hidden_size=2)], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["length", "batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["length", 1, "batch", 2])],
        [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    return Seed("lstm", model.SerializeToString())

"""Operators of several outputs: whichever of them the model reads, each is what it is if all are read.

An output may be left out by an empty name, or just not be read. ONNX Runtime is asked too, where it takes the model.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph

from bundler.errors import ConversionError
from bundler.values.arrays import Array
from tests.bundler.converters.native.oracle import array, model_of, native

_MICROSOFT = "com.microsoft"
_X = array(2, 4, 6)
_DOUBLED = [helper.make_node("Add", ["s", "s"], ["t"]), helper.make_node("Neg", ["t"], ["o"])]
_STEP = helper.make_graph(
    [helper.make_node("Identity", ["go"], ["on"]), *_DOUBLED],
    "step",
    [helper.make_tensor_value_info(n, t, d) for n, t, d in (("i", 7, []), ("go", 9, []), ("s", TensorProto.FLOAT, None))],
    [helper.make_tensor_value_info(n, t, None) for n, t in (("on", 9), ("t", TensorProto.FLOAT), ("o", TensorProto.FLOAT))],
)


def _branch(name: str, *op_types: str) -> onnx.GraphProto:
    nodes = [helper.make_node(op_type, ["x"], [name + o]) for op_type, o in zip(op_types, "ab", strict=True)]
    outputs = [helper.make_tensor_value_info(name + o, TensorProto.FLOAT, None) for o in "ab"]
    return helper.make_graph(nodes, name, [], outputs)


_BRANCHES = {"then_branch": _branch("then", "Neg", "Abs"), "else_branch": _branch("else", "Abs", "Neg")}
_RECURRENT = {"w": array(1, 8, 3), "r": array(1, 8, 2)}

CASES: dict[str, tuple[str, int, dict[str, Array], dict[str, Array], dict[str, Any]]] = {
    "TopK": ("x,k", 2, {"x": _X}, {"k": np.array([2])}, {}),
    "MaxPool": ("x", 2, {"x": array(2, 3, 8, 8)}, {}, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "Dropout": ("x", 2, {"x": _X}, {}, {}),
    "LayerNormalization": ("x,s", 3, {"x": _X}, {"s": array(6)}, {}),
    "Split": ("x", 3, {"x": _X}, {}, {"axis": 2, "num_outputs": 3}),
    "Unique": ("x", 4, {"x": np.array([[3, 1, 1, 2]])}, {}, {}),
    "DynamicQuantizeLinear": ("x", 3, {"x": _X}, {}, {}),
    "BatchNormalization": (
        "x,s,b,m,v", 3, {"x": array(2, 3, 4, 4)}, {"s": array(3), "b": array(3), "m": array(3), "v": abs(array(3))},
        {"training_mode": 1},
    ),
    "SoftmaxCrossEntropyLoss": ("x,l", 2, {"x": array(3, 5), "l": np.array([0, 2, 4])}, {}, {}),
    "LSTM": ("x,w,r", 3, {"x": array(4, 2, 3)}, _RECURRENT, {"hidden_size": 2}),
    "GRU": ("x,w,r", 2, {"x": array(4, 2, 3)}, {"w": array(1, 6, 3), "r": array(1, 6, 2)}, {"hidden_size": 2}),
    "RNN": ("x,w,r", 2, {"x": array(4, 2, 3)}, {"w": array(1, 2, 3), "r": array(1, 2, 2)}, {"hidden_size": 2}),
    "Attention": ("q,k,v", 4, {"q": array(2, 2, 3, 4), "k": array(2, 2, 5, 4), "v": array(2, 2, 5, 4, seed=1)}, {}, {}),
    "Loop": ("n,,x", 2, {"x": array(2, 4)}, {"n": np.array(3)}, {"body": _STEP}),
    "If": ("c", 2, {"x": array(2, 4), "c": np.array(True)}, {}, _BRANCHES),
    "SkipLayerNormalization": ("x,k,s", 4, {"x": _X, "k": array(2, 4, 6, seed=1)}, {"s": array(6)}, {"domain": _MICROSOFT}),
    "SkipSimplifiedLayerNormalization": (
        "x,k,s", 4, {"x": _X, "k": array(2, 4, 6, seed=1)}, {"s": array(6)}, {"domain": _MICROSOFT}
    ),
}  # fmt: skip

_ALWAYS_NAMED = {"TopK": 2, "DynamicQuantizeLinear": 3, "BatchNormalization": 3, "Split": 3, "Loop": 2, "If": 2}
"""Operators whose outputs are all part of a valid node: their names may be empty, but not missing at the end."""

_ASKED_ONCE = {"Split", "Loop", "If", "BatchNormalization"}
"""ONNX Runtime (1.32) crashes on an empty output of Split, Loop and If, and takes a training BatchNormalization of which one
output is read for one of inference. So it is asked where all outputs are read."""

_NEVER_ASKED = {"SkipLayerNormalization", "SkipSimplifiedLayerNormalization"}
"""ONNX Runtime's CPU kernels do not write the mean and the deviation. test_contrib_normalize.py compares the others."""

_UNREADABLE = {"SkipSimplifiedLayerNormalization": 1}
"""A mean that the operator lists, and does not define."""


def _answers(name: str, read: tuple[int, ...], named: bool, *, ask: bool) -> tuple[dict[str, Array], Mapping[str, Array]]:
    """Return our results for the outputs that are read, and ONNX Runtime's, which are empty if it refuses the model."""
    inputs, count, feed, constants, options = CASES[name]
    attributes = {k: v for k, v in options.items() if k != "domain"}
    names = [f"o{i}" if named or i in read else "" for i in range(count)]
    while not names[-1] and len(names) > _ALWAYS_NAMED.get(name, 1):
        names.pop()
    node = helper.make_node(name, inputs.split(","), names, domain=options.get("domain", ""), **attributes)
    opset = 23 if name == "Attention" else 20
    outputs = [f"o{i}" for i in read]
    domains = {_MICROSOFT: 1} if "domain" in options else None
    whole = helper.make_node(name, inputs.split(","), [f"o{i}" for i in range(count)], domain=node.domain, **attributes)
    model = model_of([whole], feed, outputs, constants, opset=opset, domains=domains)
    model.graph.node[0].CopyFrom(node)  # the types of the outputs are those of the whole node: ONNX cannot infer all of them
    ours = {k: v.numpy() for k, v in native(model)(**feed).items()}
    if not ask:
        return ours, {}
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString())
    except (Fail, InvalidGraph):
        return ours, {}
    return ours, dict(zip(outputs, session.run(None, feed), strict=True))


def _assert_same(got: Mapping[str, Array], want: Mapping[str, Array], names: list[str]) -> None:
    for name in names:
        assert (got[name].dtype, got[name].shape) == (want[name].dtype, want[name].shape), name
        np.testing.assert_allclose(got[name], want[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_subset_of_the_outputs_can_be_read(name: str) -> None:
    readable = tuple(i for i in range(CASES[name][1]) if i != _UNREADABLE.get(name))
    everything, reference = _answers(name, readable, True, ask=name in _ASKED_ONCE)
    _assert_same(everything, reference, list(reference))
    for size in range(1, len(readable) + 1):
        for read, named in itertools.product(itertools.combinations(readable, size), (True, False)):
            got, theirs = _answers(name, read, named, ask=name not in _ASKED_ONCE | _NEVER_ASKED)
            _assert_same(got, everything, [f"o{i}" for i in read])
            _assert_same(got, theirs, list(theirs))


@pytest.mark.parametrize("name", ["MaxPool", "TopK", "LSTM"])
def test_the_last_output_alone_can_be_read(name: str) -> None:
    count = CASES[name][1]
    everything, _ = _answers(name, tuple(range(count)), True, ask=False)
    for named in (True, False):
        got, _ = _answers(name, (count - 1,), named, ask=False)
        _assert_same(got, everything, [f"o{count - 1}"])


def test_an_output_that_is_not_computed_is_named() -> None:
    with pytest.raises(ConversionError, match="SkipSimplifiedLayerNormalization is supported without its output 1"):
        _answers("SkipSimplifiedLayerNormalization", (1,), True, ask=False)

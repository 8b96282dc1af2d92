"""Which operators of an int8 file stay float, so that XNNPACK, LiteRT's library of fast CPU kernels, runs the file quickly.

XNNPACK computes convolutions and fully connected layers several times faster in int8, but takes some operators in float only
(`FLOAT_ONLY`). Left in int8, these run in LiteRT's own kernels and cut the graph into partitions; in float, each costs a
conversion of its inputs and of its outputs. What lies between the two kinds goes where the whole costs least: a minimum cut
separates int8 from float, in which

- an operator costs its work in the number format that it gets: float for elementwise operators, since XNNPACK's int8 kernels of
  these rescale every element and are no faster, and int8 for those that only move data, of which there is a quarter, and for
  those that it looks up in a table;
- a tensor costs a conversion if its producer and a consumer are in different formats.

Source of `FLOAT_ONLY`: `VisitXxxNode` of tensorflow/lite/delegates/xnnpack/xnnpack_delegate.cc, LiteRT 2.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np

from bundler.tflite.contents import names_of, operator_name

FLOAT_ONLY = frozenset({
    "GELU", "HARD_SWISH", "RSQRT", "SQRT", "SOFTMAX", "SQUARED_DIFFERENCE", "SQUARE", "BATCH_MATMUL", "DIV", "EXP", "LOG", "POW",
    "SIN", "COS", "ABS", "NEG", "MINIMUM", "MAXIMUM", "SUM", "SELECT", "SELECT_V2",
})  # fmt: skip
"""Operators that XNNPACK runs in float and not in int8."""

_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "GATHER", "EMBEDDING_LOOKUP"})
"""Operators that are int8 if their weights are constant: for the speed of their products, and for the size of the file."""
_MOVING = frozenset({
    "RESHAPE", "TRANSPOSE", "PAD", "CONCATENATION", "SLICE", "STRIDED_SLICE", "SPLIT", "SQUEEZE", "EXPAND_DIMS", "MAX_POOL_2D",
    "PACK", "UNPACK", "GATHER", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR",
})  # fmt: skip
"""Operators that move elements, or nearly so."""

_LOOKED_UP = frozenset({"LOGISTIC", "TANH", "ELU"})
"""Operators that XNNPACK computes in int8 by a table of 256 values."""

_CONVERSION = 2
_WORK = {"moves": {"float": 2, "int8": 1}, "looked up": {"float": 3, "int8": 2}, "computes": {"float": 3, "int8": 4}}
"""Cost per element of operators, in units of half a conversion."""

_FLOAT, _INT8 = "float", "int8"
_NEVER = 10**15
"""More than any graph costs: this side of the cut is not allowed."""


@dataclass(frozen=True)
class _Operator:
    """An operator that can be int8 or float.

    Attributes:
        number: its place in the subgraph.
        name: TFLite's name.
        tensor: the name of its first output.
        inputs, outputs: indices of its float tensors that are not constant.
        has_weights: whether it has a constant float input.
    """

    number: int
    name: str
    tensor: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    has_weights: bool

    @property
    def kind(self) -> str:
        """Which of `_WORK` it costs."""
        return "moves" if self.name in _MOVING else "looked up" if self.name in _LOOKED_UP else "computes"

    @property
    def needs_int8(self) -> bool:
        return self.name in _WEIGHTED and self.has_weights


def float_layers(calibrated: bytes, forced: Collection[str] = ()) -> tuple[str, ...]:
    """Return the operators that stay float, by the tensors that `quantize.quantize` takes.

    Args:
        calibrated: content of the float file that is to be quantized.
        forced: names of tensors whose operators have to stay float, as those that they feed.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(bytearray(calibrated), 0)
    graphs = [_Graph(model, model.Subgraphs(index)) for index in range(model.SubgraphsLength())]
    return tuple(dict.fromkeys(name for graph in graphs for name in graph.float_layers(forced)))


class _Graph:
    """One subgraph: its operators and the sizes of its tensors."""

    def __init__(self, model: Any, graph: Any) -> None:
        tensors = [graph.Tensors(index) for index in range(graph.TensorsLength())]
        types = names_of("TensorType")
        self._names = [tensor.Name().decode() for tensor in tensors]
        self._sizes = [int(np.prod(tensor.ShapeAsNumpy(), dtype=np.int64)) if tensor.ShapeLength() else 1 for tensor in tensors]
        self._is_float = [types[tensor.Type()] == "FLOAT32" for tensor in tensors]
        self._is_constant = [model.Buffers(tensor.Buffer()).DataLength() > 0 for tensor in tensors]
        self._results = {graph.Outputs(index) for index in range(graph.OutputsLength())}
        self._operators = list(self._read(model, graph))

    def _read(self, model: Any, graph: Any) -> Iterator[_Operator]:
        for number in range(graph.OperatorsLength()):
            operator = graph.Operators(number)
            name = operator_name(model.OperatorCodes(operator.OpcodeIndex()))
            ins = [i for i in (operator.Inputs(k) for k in range(operator.InputsLength())) if i >= 0 and self._is_float[i]]
            outs = [i for i in (operator.Outputs(k) for k in range(operator.OutputsLength())) if self._is_float[i]]
            if ins and outs and name not in ("QUANTIZE", "DEQUANTIZE"):
                moving = tuple(i for i in ins if not self._is_constant[i])
                yield _Operator(number, name, self._names[operator.Outputs(0)], moving, tuple(outs), len(moving) < len(ins))

    def float_layers(self, forced: Collection[str]) -> Iterator[str]:
        """Yield the tensors of the operators on the float side of the minimum cut."""
        if not self._operators:
            return
        network: Any = nx.DiGraph()
        network.add_nodes_from((_FLOAT, _INT8))
        for operator in self._operators:
            self._add_operator(network, operator, forced)
        self._add_conversions(network)
        _, (floats, _) = nx.minimum_cut(network, _FLOAT, _INT8)
        yield from (operator.tensor for operator in self._operators if operator.number in floats)

    def _add_operator(self, network: Any, operator: _Operator, forced: Collection[str]) -> None:
        """Add the costs of both formats: the edge that is cut if the operator is on the other side."""
        names = {self._names[index] for index in (*operator.inputs, *operator.outputs)}
        work = sum(self._sizes[index] for index in (*operator.inputs, *operator.outputs))
        if not names.isdisjoint(forced) or (operator.name in FLOAT_ONLY and not operator.needs_int8):
            network.add_edge(_FLOAT, operator.number, capacity=_NEVER)
        elif operator.needs_int8:
            network.add_edge(operator.number, _INT8, capacity=_NEVER)
        else:
            costs = _WORK[operator.kind]
            network.add_edge(operator.number, _INT8, capacity=work * costs[_FLOAT])
            network.add_edge(_FLOAT, operator.number, capacity=work * costs[_INT8])

    def _add_conversions(self, network: Any) -> None:
        """Add the cost of one conversion for every tensor whose producer and consumers are not all on one side."""
        producers = {index: operator.number for operator in self._operators for index in operator.outputs}
        consumers: dict[int, list[Any]] = {}
        for operator in self._operators:
            for index in operator.inputs:
                consumers.setdefault(index, []).append(operator.number)
        for index in self._results:
            consumers.setdefault(index, []).append(_FLOAT)
        for index, users in consumers.items():
            producer = producers.get(index, _FLOAT)  # an input of the file is float
            to_float, to_int8, cost = ("to float", index), ("to int8", index), self._sizes[index] * _CONVERSION
            network.add_edge(to_float, producer, capacity=cost)
            network.add_edge(producer, to_int8, capacity=cost)
            for user in users:
                network.add_edge(user, to_float, capacity=_NEVER)
                network.add_edge(to_int8, user, capacity=_NEVER)

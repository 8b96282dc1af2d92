"""What the fusions share: a walk over the nodes they start from, the reasons why one is left alone, and the rewriting itself.

A fusion states its rules in its docstring, numbered. A node that is no candidate at all is passed over in silence; one that
breaks a rule on the way is `Declined` with the reason, which `Fusion.declined` keeps.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

log = logging.getLogger(__name__)

DOMAIN = "tfbundle"
"""Of operators that only our engine knows."""


class Declined(Exception):  # noqa: N818  (no error: the graph stays as it is)
    """A pattern was recognised but has to stay as it is; the message says which rule it breaks."""


@dataclass(frozen=True)
class DeclinedMatch:
    """A candidate that was left alone: the node's name and operator, and the rule it breaks."""

    node: str
    op_type: str
    reason: str


class Fusion(ir.passes.InPlacePass):
    """A pass that tries `fuse` on every node of an operator in `roots`, in subgraphs too.

    Attributes:
        fused: how many patterns were rewritten.
        declined: those that were recognised and left alone.
    """

    roots: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.fused = 0
        self.declined: list[DeclinedMatch] = []

    @abstractmethod
    def fuse(self, node: ir.Node) -> bool:
        """Rewrite the pattern that `node` is part of; False where it is part of none.

        Raises:
            Declined: it is, and breaks a rule.
        """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        for node in list(ir.traversal.RecursiveGraphIterator(model.graph)):
            if node.op_type in self.roots and node.domain == "" and node.graph is not None:
                self._try(node)
        if self.fused:
            model.opset_imports.setdefault(DOMAIN, 1)
        return ir.passes.PassResult(model, modified=bool(self.fused))

    def _try(self, node: ir.Node) -> None:
        try:
            self.fused += self.fuse(node)
        except Declined as reason:
            self.declined.append(DeclinedMatch(node.name or "", node.op_type, str(reason)))
            log.debug("%s leaves %s (%s): %s", type(self).__name__, node.name, node.op_type, reason)


def constant(value: ir.Value | None) -> npt.NDArray[Any] | None:
    """The array of a constant, or None for a computed value, an absent input, and an input of the model."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def number(value: ir.Value | None, beside: ir.Value | None = None) -> float | None:
    """A constant of one element as a number; None where it is none, or would raise the rank of `beside`."""
    tensor = None if value is None or value.is_graph_input() else value.const_value
    if tensor is None or tensor.size != 1 or not _is_real(tensor.dtype):
        return None
    if len(tensor.shape) > (rank(beside) or 0):
        return None
    return float(tensor.numpy().reshape(()))


def _is_real(dtype: ir.DataType) -> bool:
    return dtype.is_floating_point() or dtype in (ir.DataType.INT32, ir.DataType.INT64)


def is_close(found: float, wanted: float, dtype: ir.DataType | None) -> bool:
    """Whether the constant is the wanted number as far as exporters round it: to the dtype, and to seven digits at most."""
    coarse = {ir.DataType.FLOAT16: 2e-3, ir.DataType.BFLOAT16: 1.6e-2}
    return abs(found - wanted) <= coarse.get(dtype or ir.DataType.FLOAT, 1e-6) * abs(wanted)


def vector(value: ir.Value | None, width: int, of_rank: int | None, of: str) -> ir.Value:
    """A constant [width], or [1, …, 1, width] up to a rank, as a constant of one axis.

    Raises:
        Declined: it is computed, or no vector of this width; the message begins with `of`.
    """
    array = constant(value)
    if array is None or value is None:
        raise Declined(f"{of} is no constant")
    if array.size != width or array.shape[-1:] != (width,) or array.ndim > max(of_rank or 0, 1):
        raise Declined(f"{of} is no vector of its width")
    return value if array.ndim == 1 else add_constant(value, array.reshape(-1), "vector")


def add_constant(beside: ir.Value, array: npt.NDArray[Any], suffix: str) -> ir.Value:
    """A new constant of the graph that has the constant `beside`, named after it."""
    graph = beside.graph
    assert isinstance(graph, ir.Graph)
    name = f"{beside.name}.{suffix}"
    while name in graph.initializers:
        name += "_"
    value = ir.Value(name=name, const_value=ir.tensor(np.ascontiguousarray(array), name=name))
    value.shape, value.type = ir.Shape(array.shape), beside.type
    graph.register_initializer(value)
    return value


def reader(value: ir.Value, *op_types: str) -> ir.Node | None:
    """The one node of these operators that reads the value; nodes of others may read it too."""
    nodes = {use.node for use in value.uses() if use.node.domain == "" and use.node.op_type in op_types}
    return nodes.pop() if len(nodes) == 1 else None


def check_enclosed(nodes: Collection[ir.Node]) -> None:
    """Look at the nodes of a pattern, the one with its result last.

    Raises:
        Declined: what is computed on the way is read by others, or the nodes stand in different graphs.
    """
    *inner, last = nodes
    if any(node.graph is not last.graph for node in inner):
        raise Declined("its nodes stand in different graphs")
    members = set(nodes)
    for output in (o for node in inner for o in node.outputs):
        if output.is_graph_output() or any(use.node not in members for use in output.uses()):
            raise Declined("other nodes read what it computes on the way")


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that makes the value, if it is one of these operators of ONNX's own domain."""
    node = None if value is None else value.producer()
    return node if node is not None and node.domain == "" and node.op_type in op_types else None


def sole_consumer(value: ir.Value, *op_types: str) -> ir.Node | None:
    """The one node that reads the value, once, if it is one of these operators; None where the value is a graph's output."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    (use,) = uses
    node = use.node
    return node if node.domain == "" and node.op_type in op_types and node.graph is not None else None


def other_operand(node: ir.Node, value: ir.Value) -> ir.Value | None:
    """The other input of a node with two."""
    first, second = node.inputs[:2]
    return second if first is value else first


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """The value of an attribute, or ONNX's default."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def rank(value: ir.Value | None) -> int | None:
    """The number of axes, where shape inference knows it."""
    return None if value is None or value.shape is None else len(value.shape)


def replace(old: Sequence[ir.Node], new: ir.Node) -> None:
    """Put `new` in the place of `old`, whose last node's first output it now computes, under the same name.

    Nodes of `old` whose values others still read stay.
    """
    last = old[-1]
    result, output = new.outputs[0], last.outputs[0]
    graph = last.graph
    assert isinstance(graph, ir.Graph)
    graph.insert_before(last, new)
    result.name, result.shape, result.type = output.name, output.shape, output.type
    new.metadata_props.update(last.metadata_props)
    output.replace_all_uses_with(result, replace_graph_outputs=True)
    output.name = None
    remove_unused(old)


def remove_unused(nodes: Sequence[ir.Node]) -> None:
    """Remove those whose outputs nobody reads, the last first."""
    for node in reversed(nodes):
        if node.graph is not None and not any(o.uses() or o.is_graph_output() for o in node.outputs):
            node.graph.remove(node, safe=True)


def remove_unread(value: ir.Value) -> None:
    """Remove the node that makes a value which nobody reads any more, and those whose results only it read."""
    node = value.producer()
    if node is None or node.graph is None or any(o.uses() or o.is_graph_output() for o in node.outputs):
        return
    read = list(dict.fromkeys(v for v in node.inputs if v is not None))
    node.graph.remove(node, safe=True)
    for one in read:
        remove_unread(one)

"""The base class of fusions, and the functions that they share to inspect and rewrite a graph.

The module of a fusion states its rules in its docstring, numbered. A node that is not a candidate is passed over silently; a
candidate that breaks a rule is left alone, and `Fusion.declined` records the reason.
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
"""The domain of operators that only our engine knows."""


class Declined(Exception):  # noqa: N818  (not an error: the graph stays as it is)
    """A pattern was recognised but must stay as it is; the message states the rule that it breaks."""


@dataclass(frozen=True)
class DeclinedMatch:
    """A candidate that was left alone.

    Attributes:
        node: the name of the node at which the pattern was recognised.
        op_type: the operator of the node.
        reason: the rule that the pattern breaks.
    """

    node: str
    op_type: str
    reason: str


class Fusion(ir.passes.InPlacePass):
    """A pass that tries `fuse` on every node whose operator is in `roots`, in subgraphs too.

    Attributes:
        roots: the operators at which a pattern is recognised.
        fused: the number of rewritten patterns.
        declined: the candidates that were left alone.
    """

    roots: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.fused = 0
        self.declined: list[DeclinedMatch] = []

    @abstractmethod
    def fuse(self, node: ir.Node) -> bool:
        """Rewrite the pattern that `node` is part of.

        Returns:
            False if the node is not part of such a pattern.

        Raises:
            Declined: the pattern breaks a rule.
        """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Try `fuse` on every node whose operator is in `roots`."""
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
            log.debug("%s declines %s (%s): %s", type(self).__name__, node.name, node.op_type, reason)


def constant(value: ir.Value | None) -> npt.NDArray[Any] | None:
    """Return the array of a constant, or None for a computed value, an omitted input, or a graph input."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def number(value: ir.Value | None, beside: ir.Value | None = None) -> float | None:
    """Return a one-element constant as a float.

    Return None if the value is not such a constant, is a graph input, or has a higher rank than `beside`, where substituting it
    would change broadcasting.
    """
    tensor = None if value is None or value.is_graph_input() else value.const_value
    if tensor is None or tensor.size != 1 or not _is_real(tensor.dtype):
        return None
    if len(tensor.shape) > (rank(beside) or 0):
        return None
    return float(tensor.numpy().reshape(()))


def _is_real(dtype: ir.DataType) -> bool:
    return dtype.is_floating_point() or dtype in (ir.DataType.INT32, ir.DataType.INT64)


def is_close(actual: float, expected: float, dtype: ir.DataType | None) -> bool:
    """Return True if two numbers are equal up to the rounding of exporters: to the dtype, and to at most seven digits."""
    coarse = {ir.DataType.FLOAT16: 2e-3, ir.DataType.BFLOAT16: 1.6e-2}
    return abs(actual - expected) <= coarse.get(dtype or ir.DataType.FLOAT, 1e-6) * abs(expected)


def bias_vector(bias: ir.Value | None, width: int, max_rank: int | None) -> ir.Value:
    """Return a bias of the shape [width] or [1, …, 1, width] as a constant of one axis.

    Args:
        bias: the value that is added to a product.
        width: the number of columns of the product.
        max_rank: the rank of the product; a bias of a higher rank would raise it.

    Raises:
        Declined: the bias is computed, or is not such a vector.
    """
    array = constant(bias)
    if array is None or bias is None:
        raise Declined("The bias must be constant.")
    if array.size != width or array.shape[-1:] != (width,) or array.ndim > max(max_rank or 0, 1):
        raise Declined(f"The bias must be a vector of {width} numbers.")
    return bias if array.ndim == 1 else add_constant(bias, array.reshape(-1), "vector")


def add_constant(beside: ir.Value, array: npt.NDArray[Any], suffix: str) -> ir.Value:
    """Add a constant to the graph of the constant `beside`, with the name of the latter and a suffix, and return it."""
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
    """Return the only node of these operators that reads the value; nodes of other operators may read it too."""
    nodes = {use.node for use in value.uses() if use.node.domain == "" and use.node.op_type in op_types}
    return nodes.pop() if len(nodes) == 1 else None


def check_enclosed(nodes: Collection[ir.Node]) -> None:
    """Raise if a pattern cannot be replaced as a whole.

    Args:
        nodes: the nodes of the pattern; the last one computes its result.

    Raises:
        Declined: other nodes read intermediate results, or the nodes are in different graphs.
    """
    *inner, last = nodes
    if any(node.graph is not last.graph for node in inner):
        raise Declined("All nodes of the pattern must be in the same graph.")
    members = set(nodes)
    for output in (o for node in inner for o in node.outputs):
        if output.is_graph_output() or any(use.node not in members for use in output.uses()):
            raise Declined("Other nodes must not read intermediate results of the pattern.")


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """Return the node that computes the value if it is one of these operators of ONNX's domain, else None."""
    node = None if value is None else value.producer()
    return node if node is not None and node.domain == "" and node.op_type in op_types else None


def sole_consumer(value: ir.Value, *op_types: str) -> ir.Node | None:
    """Return the only reader of a value, if it reads it once and is one of these operators.

    Return None in all other cases, and if the value is a graph output.
    """
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    (use,) = uses
    node = use.node
    return node if node.domain == "" and node.op_type in op_types and node.graph is not None else None


def other_operand(node: ir.Node, value: ir.Value) -> ir.Value | None:
    """Return the other input of a node with two inputs."""
    first, second = node.inputs[:2]
    return second if first is value else first


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """Return the value of an attribute, or a default if the node does not have it."""
    present = node.attributes.get(name)
    return default if present is None else present.value


def rank(value: ir.Value | None) -> int | None:
    """Return the number of axes of a value, or None if it is unknown."""
    return None if value is None or value.shape is None else len(value.shape)


def replace(old: Sequence[ir.Node], new: ir.Node) -> None:
    """Replace the nodes `old` by `new`, which computes the first output of the last one, under the same name.

    Nodes of `old` whose values are still read stay in the graph.
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
    """Remove the nodes whose outputs are not read, starting with the last one."""
    for node in reversed(nodes):
        if node.graph is not None and not any(o.uses() or o.is_graph_output() for o in node.outputs):
            node.graph.remove(node, safe=True)


def remove_unread(value: ir.Value) -> None:
    """Remove the node that computes a value which is no longer read, and the nodes whose results only that node read."""
    node = value.producer()
    if node is None or node.graph is None or any(o.uses() or o.is_graph_output() for o in node.outputs):
        return
    operands = list(dict.fromkeys(v for v in node.inputs if v is not None))
    node.graph.remove(node, safe=True)
    for operand in operands:
        remove_unread(operand)

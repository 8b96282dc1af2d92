"""The table of rules, and the editor through which a rule rewrites a node.

A rule turns a node of any opset below `before` into nodes with the meaning of opset `before`; it leaves what has not changed.
Rules of one operator run in the order of `before`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from bundler.errors import ConversionError
from bundler.graph.provenance import describe_node


class NodeEditor:
    """A node of an older opset, and the operations that a rule needs to rewrite it.

    Args:
        node: the node.
        opset: the opset of its model.
        names: returns a name that no other value of the model has, given the start of it.

    Attributes:
        node: the node.
        opset: the opset of its model.
    """

    def __init__(self, node: ir.Node, opset: int, names: Callable[[str], str]) -> None:
        self.node = node
        self.opset = opset
        self._names = names

    def input(self, index: int) -> ir.Value | None:
        """Return an input; None if it is omitted."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def operand(self, index: int = 0) -> ir.Value:
        """Return an input that the operator requires.

        Raises:
            ConversionError: it is omitted.
        """
        value = self.input(index)
        if value is None:
            raise self.error(f"the input {index}, which {self.node.op_type} requires, is missing")
        return value

    def take(self, name: str, default: Any = None) -> Any:
        """Remove an attribute and return its value: a number, a string, or a list; `default` if it is absent."""
        attribute = self.node.attributes.pop(name, None)
        if attribute is None:
            return default
        value = attribute.value
        return list(value) if isinstance(value, (tuple, list)) else value

    def set(self, **attributes: int | float | str | Sequence[int] | Sequence[float]) -> None:
        """Set attributes of the node."""
        for attribute in ir.convenience.convert_attributes(attributes):
            self.node.attributes.add(attribute)

    def set_inputs(self, *values: ir.Value | None) -> None:
        """Replace the node's inputs; trailing None are left out."""
        inputs = list(values)
        while inputs and inputs[-1] is None:
            inputs.pop()
        self.node.resize_inputs(len(inputs))
        for index, value in enumerate(inputs):
            self.node.replace_input_with(index, value)

    def add(self, op_type: str, inputs: Sequence[ir.Value | None], **attributes: Any) -> ir.Value:
        """Insert an operator before the node and return its first output, of which nothing is known."""
        start = f"{self.node.outputs[0].name or self.node.op_type}_{op_type.lower()}"
        added = ir.node(op_type, inputs, attributes or None, name=self._names(start))
        added.metadata_props.update(self.node.metadata_props)
        for value in added.outputs:
            value.name = self._names(start)
        self._graph().insert_before(self.node, added)
        return added.outputs[0]

    def constant(self, array: Any, dtype: Any = np.int64) -> ir.Value:
        """Insert a Constant before the node and return its output."""
        data = np.asarray(array, dtype)
        tensor = ir.tensor(data)
        value = self.add("Constant", [], value=tensor)
        value.dtype, value.shape, value.const_value = tensor.dtype, ir.Shape(data.shape), tensor
        return value

    def scalar_like(self, number: float, like: ir.Value) -> ir.Value:
        """Return a scalar of the dtype of `like`, which may be unknown."""
        if like.dtype is None:
            return self.add("CastLike", [self.constant(number, np.float32), like])
        return self.constant(number, like.dtype.numpy())

    def rank(self, value: ir.Value) -> int:
        """Return the rank of a value.

        Raises:
            ConversionError: it is unknown.
        """
        if value.shape is None:
            raise self.error(f"the rank of {value.name!r} must be known in this opset")
        return len(value.shape)

    def replace(self, value: ir.Value, index: int = 0) -> None:
        """Give the node's readers an equal value, which takes over the name of output `index`."""
        old = self.node.outputs[index]
        value.type, value.shape = old.type, old.shape
        old.replace_all_uses_with(value, replace_graph_outputs=True)
        name, old.name = old.name, None
        value.name = name

    def remove(self) -> None:
        """Remove the node, whose outputs have been replaced."""
        self._graph().remove(self.node, safe=True)

    def error(self, reason: str) -> ConversionError:
        """Return an error that names the node and the opset."""
        return ConversionError(
            f"{self.node.op_type} of opset {self.opset} is not supported here: {reason}.",
            where=describe_node(self.node), fix="export the model with opset 21 or newer",
            code="TFB3002",
        )  # fmt: skip

    def _graph(self) -> ir.Graph:
        graph = self.node.graph
        assert isinstance(graph, ir.Graph)
        return graph


Rewrite = Callable[[NodeEditor], None]


@dataclass(frozen=True)
class Rule:
    """How an operator changed.

    Attributes:
        before: the first opset with the new meaning.
        rewrite: changes the node in place, or replaces and removes it.
    """

    before: int
    rewrite: Rewrite


@dataclass
class Rules:
    """The rules by operator of ONNX's domain."""

    _by_operator: dict[str, list[Rule]] = field(default_factory=dict)

    def rule(self, *op_types: str, before: int) -> Callable[[Rewrite], Rewrite]:
        """Return a decorator that adds a rule for some operators."""

        def add(rewrite: Rewrite) -> Rewrite:
            for op_type in op_types:
                rules = self._by_operator.setdefault(op_type, [])
                rules.append(Rule(before, rewrite))
                rules.sort(key=lambda rule: rule.before)
            return rewrite

        return add

    def for_operator(self, op_type: str, opset: int) -> Iterator[Rule]:
        """Yield the rules that a node of an opset needs, in their order."""
        return (rule for rule in self._by_operator.get(op_type, ()) if opset < rule.before)


RULES = Rules()
rule = RULES.rule

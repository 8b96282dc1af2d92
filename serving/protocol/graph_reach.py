"""Which nodes and functions of a MetaGraphDef run when a tensor or an operation is computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
"""Operators that call the function in their attribute `f` with their inputs as its arguments."""

_SWAPPED = "api_implements"
"""Attribute of functions that TensorFlow's optimizer may exchange for each other (grappler's implementation_selector.cc)."""


@dataclass
class Reach:
    """Names of the nodes of the main graph, and of the functions, that run."""

    nodes: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)

    def covers(self, scope: str, node: str) -> bool:
        """Return whether a node runs; `scope` is the function that it is in, or empty for the main graph."""
        return scope in self.functions if scope else node in self.nodes


class GraphIndex:
    """The nodes and functions of a MetaGraphDef message by name."""

    def __init__(self, meta_graph: Any) -> None:
        graph = meta_graph.graph_def
        self.meta_graph = meta_graph
        self.nodes = {node.name: node for node in graph.node}
        self.functions = {function.signature.name: function for function in graph.library.function}
        self._callers: dict[str, list[tuple[Any, list[str]]]] = {}
        gradients = {gradient.gradient_func for gradient in graph.library.gradient}
        swapped = {name for name, function in self.functions.items() if _SWAPPED in function.attr}
        self.loosely_called = frozenset((gradients | swapped) & self.functions.keys())
        """Functions that may run although no node names them: gradients, and those that TensorFlow may put in place of others."""

    def scopes(self) -> Iterator[tuple[str, Iterable[Any]]]:
        """Yield the main graph, as an empty name, and every function, each with all of its nodes."""
        yield "", self.meta_graph.graph_def.node
        for function in self.meta_graph.graph_def.library.function:
            yield function.signature.name, function.node_def

    def callee(self, node: Any) -> str | None:
        """Return the function that a node calls with its inputs as arguments; None if it does not call one."""
        if node.op in self.functions:
            return str(node.op)
        name = node.attr["f"].func.name if node.op in CALLS and "f" in node.attr else ""
        return name if name in self.functions else None

    def reach(self, tensors: Iterable[str], functions: Iterable[str] = ()) -> Reach:
        """Return all that runs when tensors or operations of the main graph are computed and functions are called."""
        found = Reach()
        todo = [_node_name(tensor) for tensor in tensors]
        waiting = [*functions, *self.loosely_called]
        while todo:
            name = todo.pop()
            if name in self.nodes and name not in found.nodes:
                found.nodes.add(name)
                node = self.nodes[name]
                todo += map(_node_name, node.input)
                waiting += self._named_functions(node)
        while waiting:
            name = waiting.pop()
            if name in self.functions and name not in found.functions:
                found.functions.add(name)
                waiting += (named for _, names in self.callers(name) for named in names)
        return found

    def callers(self, scope: str) -> list[tuple[Any, list[str]]]:
        """Return the nodes of a function, or of the main graph, that name functions, each with these functions."""
        if scope not in self._callers:
            nodes = self.functions[scope].node_def if scope else self.nodes.values()
            named = ((node, [name for name in self._named_functions(node) if name in self.functions]) for node in nodes)
            self._callers[scope] = [(node, names) for node, names in named if names]
        return self._callers[scope]

    def _named_functions(self, node: Any) -> Iterator[str]:
        if node.op in self.functions:
            yield node.op
        todo = list(node.attr.values())
        while todo:
            value = todo.pop()
            kind = value.WhichOneof("value")
            for function in (value.func,) if kind == "func" else value.list.func if kind == "list" else ():
                yield function.name
                todo += function.attr.values()


def data_inputs(node: Any) -> list[str]:
    """Return the inputs of a node without its control inputs, which come last and begin with `^`."""
    return [name for name in node.input if not name.startswith("^")]


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]

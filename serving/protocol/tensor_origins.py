"""Where the file names in a SavedModel's graph come from: from the loader, or from anywhere.

A loader feeds two kinds of names into a graph: the path of the variables, to the operation that restores them, and the paths of
the assets, to the operation that initializes tables. `Origins` follows these tensors through identities, variables and
function calls, so that a RestoreV2 of the model's own variables, or a table that is read from the model's own vocabulary file,
can be told from one that reads another file. Whatever it cannot follow counts as coming from anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from serving.protocol.graph_reach import GraphIndex, data_inputs
from serving.protocol.messages import enum

Origin: TypeAlias = tuple[str, str] | None
"""`FILENAME`, `ASSET`, a variable's handle, or None for any other tensor."""

FILENAME: Origin = ("filename", "")
ASSET: Origin = ("asset", "")
_VARIABLE = "variable"

CHECKED_INPUT: Mapping[str, tuple[int, Origin]] = {
    "RestoreV2": (0, FILENAME),
    "RestoreSlice": (0, FILENAME),
    "Restore": (0, FILENAME),
    "InitializeTableFromTextFile": (1, ASSET),
    "InitializeTableFromTextFileV2": (1, ASSET),
    "ReadFile": (0, ASSET),
}
"""Operators that read a file: the input that names it, and the origin with which the file belongs to the model."""

_USES_OF_A_HANDLE = frozenset({"ReadVariableOp", "VarIsInitializedOp", "DisableCopyOnRead", "Identity"})
_MOST_VISITS = 5_000_000
"""Nodes that are looked at, each once for every kind of arguments that its function is called with. An ordinary model needs
thousands; a graph that needs more is not followed, so that checking it takes no longer than some seconds."""

_Context: TypeAlias = tuple[str, tuple[Origin, ...]]
"""A function (empty: the main graph) and the origins of its arguments."""


class Origins:
    """The origins of the file names that the nodes of a graph read.

    Args:
        index: the graph.
        filename: name of the tensor that is fed the path of the variables.
        assets: names of the tensors that are fed paths of assets.
        fed: names of the tensors that clients feed, so that nothing is known of their values.
        functions: calls by the loader of tf.saved_model.load: functions, each with the origins of its arguments.
    """

    def __init__(
        self, index: GraphIndex, *, filename: str, assets: Iterable[str], fed: Iterable[str], functions: Iterable[_Context]
    ) -> None:
        self._index = index
        self._fed = {name if ":" in name else f"{name}:0" for name in fed}
        self._visits = 0
        self._origins: dict[str, Origin] = dict.fromkeys(assets, ASSET)
        if filename:
            self._origins[filename] = FILENAME
        self._follows_variables = ASSET in self._origins.values()
        self._untrusted: set[str] = set()
        self._trusts_variables = self._follows_variables
        self._proven: set[tuple[str, str]] = set()
        self._refuted: set[tuple[str, str]] = set()
        calls = [*functions, *((name, self._unknown(name)) for name in index.loosely_called)]
        before = -1
        # A variable that turns out to be written with another value makes more origins unknown, so the walk is repeated.
        while before != len(self._untrusted) + (not self._trusts_variables):
            before = len(self._untrusted) + (not self._trusts_variables)
            self._walk(calls)

    def is_own_file(self, scope: str, node: str) -> bool:
        """Return whether a node of `CHECKED_INPUT` reads a file of the model itself, wherever it is called from.

        Args:
            scope: the function that the node is in, or empty for the main graph.
            node: the node's name.
        """
        is_known = self._visits <= _MOST_VISITS
        return is_known and (scope, node) in self._proven and (scope, node) not in self._refuted

    def _walk(self, calls: list[_Context]) -> None:
        self._proven.clear()
        self._refuted.clear()
        seen: set[_Context] = set()
        self._visit_all([("", ()), *calls], seen)
        visited = {name for name, _ in seen}
        # Functions that nothing calls with known arguments: bodies of loops, branches and datasets, for example.
        rest = [name for name in self._index.functions if name not in visited]
        self._visit_all([(name, self._unknown(name)) for name in rest], seen)

    def _visit_all(self, todo: list[_Context], seen: set[_Context]) -> None:
        while todo:
            context = todo.pop()
            if context not in seen:
                seen.add(context)
                self._visits += self._size(context[0])
                if self._visits > _MOST_VISITS:
                    return
                todo += self._visit(context)

    def _size(self, scope: str) -> int:
        return len(self._index.functions[scope].node_def if scope else self._index.nodes) + 1

    def _unknown(self, function: str) -> tuple[Origin, ...]:
        return (None,) * len(self._index.functions[function].signature.input_arg)

    def _visit(self, context: _Context) -> Iterator[_Context]:
        """Judge the nodes of a function or of the main graph, and yield the calls in it."""
        scope, arguments = context
        resolver = _Resolver(self, scope, arguments)
        for node in self._index.functions[scope].node_def if scope else self._index.nodes.values():
            if node.op in CHECKED_INPUT:
                position, expected = CHECKED_INPUT[node.op]
                inputs = data_inputs(node)
                is_own = len(inputs) > position and resolver.origin(inputs[position]) == expected
                (self._proven if is_own else self._refuted).add((scope, node.name))
            if self._follows_variables and self._index.callee(node) is None:
                self._judge_variables(node, resolver)
        for node, names in self._index.callers(scope):
            callee = self._index.callee(node)
            if callee is not None:
                passed = tuple(map(resolver.origin, data_inputs(node)))
                yield callee, (*passed, *self._unknown(callee))[: len(self._unknown(callee))]
            yield from ((name, self._unknown(name)) for name in names if name != callee)
        if self._follows_variables and scope:
            for name in self._index.functions[scope].ret.values():
                self._distrust(resolver.origin(name))

    def _judge_variables(self, node: Any, resolver: _Resolver) -> None:
        """Distrust each variable whose handle goes where its writes cannot be seen, or that gets another value than an asset."""
        if node.op in _USES_OF_A_HANDLE:
            return
        inputs = data_inputs(node)
        if node.op == "AssignVariableOp" and len(inputs) == 2:
            handle = resolver.origin(inputs[0])
            if handle is None and _is_string(node):
                self._trusts_variables = False
            elif resolver.origin(inputs[1]) != ASSET:
                self._distrust(handle)
            return
        if node.op == "VarHandleOp":
            # The name of a variable without a shared name depends on how TensorFlow places the function.
            if resolver.scope and _is_string(node) and not node.attr["shared_name"].s:
                self._trusts_variables = False
            return
        handles = [resolver.origin(name) for name in inputs]
        for handle in handles:
            self._distrust(handle)
        if node.op.startswith("Resource") and _is_string(node) and None in handles[:1]:
            self._trusts_variables = False

    def _distrust(self, origin: Origin) -> None:
        if origin is not None and origin[0] == _VARIABLE:
            self._untrusted.add(origin[1])

    def trusts(self, variable: Origin) -> bool:
        """Return whether a variable holds nothing but paths of assets."""
        return variable is not None and self._trusts_variables and variable[1] not in self._untrusted

    def fed_origin(self, tensor: str) -> tuple[bool, Origin]:
        """Return whether a tensor of the main graph is fed, and the origin of what it is fed."""
        if tensor in self._fed:
            return True, None
        return tensor in self._origins, self._origins.get(tensor)

    @property
    def index(self) -> GraphIndex:
        """The graph."""
        return self._index


class _Resolver:
    """Finds the origins of tensors in one function, or in the main graph."""

    def __init__(self, origins: Origins, scope: str, arguments: tuple[Origin, ...]) -> None:
        self.scope = scope
        self._origins = origins
        if scope:
            function = origins.index.functions[scope]
            names = (argument.name for argument in function.signature.input_arg)
            self._arguments = dict(zip(names, arguments, strict=False))
            self._nodes = {node.name: node for node in function.node_def}
        else:
            self._arguments, self._nodes = {}, origins.index.nodes

    def origin(self, tensor: str) -> Origin:
        """Return the origin of a tensor, by the name that the inputs of nodes have."""
        seen: set[str] = set()
        reads = False
        while tensor not in seen:
            seen.add(tensor)
            name, _, output = tensor.partition(":")
            if self.scope and not output and name in self._arguments:
                return self._read(self._arguments[name]) if reads else self._arguments[name]
            if not self.scope:
                is_fed, origin = self._origins.fed_origin(f"{name}:{output or 0}")
                if is_fed:
                    return None if reads else origin
            node = self._nodes.get(name)
            if node is None:
                return None
            if node.op == "VarHandleOp":
                handle = (_VARIABLE, _variable_key(node))
                return self._read(handle) if reads else handle
            inputs = data_inputs(node)
            if node.op not in ("Identity", "ReadVariableOp") or not inputs or (reads and node.op == "ReadVariableOp"):
                return None
            reads = reads or node.op == "ReadVariableOp"
            tensor = inputs[0]
        return None

    def _read(self, handle: Origin) -> Origin:
        is_variable = handle is not None and handle[0] == _VARIABLE
        return ASSET if is_variable and self._origins.trusts(handle) else None


def object_variable(number: int) -> Origin:
    """Return the origin of a variable in the object graph, which holds no path of an asset."""
    return (_VARIABLE, f"object {number}")


def _variable_key(node: Any) -> str:
    name = node.attr["shared_name"].s.decode("utf-8", "replace") or node.name
    return f"{node.attr['container'].s.decode('utf-8', 'replace')}/{name}"


def _is_string(node: Any) -> bool:
    number = enum("tensorflow.DataType").values_by_name["DT_STRING"].number
    return any(key in node.attr and node.attr[key].type in (0, number) for key in ("dtype", "T"))

"""Graphs whose fused products can meet an array without elements, which ends the process.

Grappler's remapper (core/grappler/optimizers/remapper.cc) fuses MatMul with the BiasAdd after it into _FusedMatMul. With oneDNN,
that kernel throws dnnl::error for an inner or an output dim of 0, and nothing catches it: the process aborts. Without oneDNN,
_FusedConv2D divides by zero for a filter without elements. The same ops unfused answer such arrays. Every other kernel that
was tried (convolutions, pooling, reductions, linear algebra, resizing; with and without oneDNN and the remapper) answers them
or returns an error.

The dims that matter are those of the second operand, which in nearly all graphs is a weight whose shape is known when the
graph is loaded. If it is known and has no 0, a first operand with an inner dim of 0 does not fit and fails in the op's own
check. So only graphs with a second operand of unknown shape need their remapper turned off, and they are found at load time:
requests are not looked at, and arrays that become empty within the graph are covered too. A MatMul that is read only by
EnsureShape is never fused: tfbundle's own graphs guard their products so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

_PRODUCTS = frozenset({"MatMul", "Conv2D", "Conv3D", "DepthwiseConv2dNative"})
"""Ops that the remapper fuses with what follows; input 1 is the weight."""

_FUSED = frozenset(
    {
        "_FusedMatMul", "_FusedConv2D", "_FusedConv3D", "_FusedDepthwiseConv2dNative", "_MklFusedMatMul",
        "_MklNativeFusedMatMul", "_MklNativeFusedConv2D", "_MklNativeFusedConv3D", "_MklNativeFusedDepthwiseConv2dNative",
    }
)  # fmt: skip
_SAME_SHAPE = frozenset({"Identity", "StopGradient", "Cast", "Enter", "Snapshot", "CheckNumerics", "PreventGradient"})
_VARIABLES = frozenset({"VariableV2", "Variable", "VarHandleOp"})

Dims = tuple[int, ...] | None
"""A shape with -1 for an unknown dim; None if the rank is unknown too."""


def needs_unfused_products(graph_def: Any) -> bool:
    """Return whether a product in the graph or its functions has a weight whose dims are not all known to be above 0.

    Args:
        graph_def: the GraphDef message of a SavedModel.
    """
    shapes = _Shapes(graph_def)
    return any(
        not _is_filled(shapes.of_input(function, node, 1))
        for function, node in shapes.nodes()
        if node.op in _PRODUCTS
        and len(node.input) > 1
        and not (node.op == "MatMul" and shapes.is_guarded(function, node))
    )


def has_fused_products(graph_def: Any) -> bool:
    """Return whether the graph was saved with fused products, which no option can take apart again."""
    return any(node.op in _FUSED for _, node in _nodes(graph_def))


def _is_filled(dims: Dims) -> bool:
    """Return whether a weight of this shape has elements. A scalar is not a weight but the handle of a variable."""
    return bool(dims) and all(size > 0 for size in dims or ())


def _nodes(graph_def: Any) -> Iterator[tuple[str, Any]]:
    """Yield every node with the name of its function; an empty name is the graph itself."""
    for node in graph_def.node:
        yield "", node
    for function in graph_def.library.function:
        for node in function.node_def:
            yield function.signature.name, node


class _Shapes:
    """Shapes that the file records: `_output_shapes`, constants, variables, and the arguments of a function's callers."""

    def __init__(self, graph_def: Any) -> None:
        self._graph_def = graph_def
        self._by_name: dict[str, dict[str, Any]] = defaultdict(dict)
        self._arguments: dict[str, dict[str, int]] = {}
        self._attributes: dict[str, Any] = {}
        self._callers: dict[str, list[tuple[str, Any, int]]] = defaultdict(list)
        self._readers: dict[tuple[str, str], set[str]] = defaultdict(set)
        for function in graph_def.library.function:
            name = function.signature.name
            self._arguments[name] = {arg.name: at for at, arg in enumerate(function.signature.input_arg)}
            self._attributes[name] = function.arg_attr
        for name, node in self.nodes():
            self._by_name[name][node.name] = node
            for called in _called(node):
                # The first input of If and Case is the condition.
                self._callers[called].append(
                    (name, node, int(node.op in ("If", "StatelessIf", "Case", "StatelessCase")))
                )

    def nodes(self) -> Iterator[tuple[str, Any]]:
        return _nodes(self._graph_def)

    def is_guarded(self, function: str, node: Any) -> bool:
        """Return whether a node of this function is read by EnsureShape, and by nothing else."""
        if not self._readers:
            for scope, reader in self.nodes():
                for name in reader.input:
                    self._readers[scope, name.split(":")[0]].add(reader.op)
            for called in self._graph_def.library.function:
                for name in called.ret.values():
                    self._readers[called.signature.name, name.split(":")[0]].add("return")
        return self._readers[function, node.name] == {"EnsureShape"}

    def of_input(self, function: str, node: Any, at: int, seen: frozenset[tuple[str, int]] = frozenset()) -> Dims:
        """Return the shape of input `at` of a node in a function, as far as it is known."""
        name, *rest = node.input[at].split(":")
        output = int(rest[-1]) if rest and rest[-1].isdecimal() else 0
        producer = self._by_name[function].get(name)
        if producer is None:
            return self._of_argument(function, name, seen)
        return self._of_output(function, producer, output, seen)

    def _of_output(self, function: str, node: Any, output: int, seen: frozenset[tuple[str, int]]) -> Dims:
        if node.op == "Const":
            return _dims(node.attr["value"].tensor.tensor_shape)
        if node.op in _VARIABLES:
            return _dims(node.attr["shape"].shape)
        recorded = (
            [_dims(shape) for shape in node.attr["_output_shapes"].list.shape] if "_output_shapes" in node.attr else []
        )
        # In a function, `node:indices:0` counts per named output, so the place in the list is unknown; any will do if all
        # have elements.
        if recorded and all(map(_is_filled, recorded)):
            return recorded[0]
        if not function and output < len(recorded):
            return recorded[output]
        if node.input and (node.op in _SAME_SHAPE or node.op == "ReadVariableOp"):
            return self.of_input(function, node, 0, seen)
        return None

    def _of_argument(self, function: str, name: str, seen: frozenset[tuple[str, int]]) -> Dims:
        """Return the shape of a function's argument, if all its callers give the same one."""
        at = self._arguments.get(function, {}).get(name)
        if at is None or (function, at) in seen:
            return None
        recorded = self._attributes[function][at].attr if at in self._attributes[function] else {}
        if "_output_shapes" in recorded:
            dims = _dims(recorded["_output_shapes"].list.shape[0]) if recorded["_output_shapes"].list.shape else None
            if _is_filled(dims):
                return dims
        seen = seen | {(function, at)}
        given = {self._of_call(*caller, at, seen) for caller in self._callers[function]}
        return given.pop() if len(given) == 1 else None

    def _of_call(self, function: str, node: Any, first: int, at: int, seen: frozenset[tuple[str, int]]) -> Dims:
        if node.op in ("While", "StatelessWhile") and at < len(node.attr["output_shapes"].list.shape):
            dims = _dims(node.attr["output_shapes"].list.shape[at])
            if _is_filled(dims):
                return dims
        return self.of_input(function, node, first + at, seen) if first + at < len(node.input) else None


def _called(node: Any) -> Iterable[str]:
    for value in node.attr.values():
        if value.func.name:
            yield value.func.name
        for function in value.list.func:
            yield function.name


def _dims(shape: Any) -> Dims:
    return None if shape.unknown_rank else tuple(dim.size for dim in shape.dim)

"""Walks a model like a conversion, to find out for every node whether it can be lowered and why not.

1. A node that is rejected, or has no handler, is recorded; zeros of its outputs' types replace them, and the walk goes on.
2. If the types of its outputs are not known, nothing can replace them: nodes that depend on it remain unchecked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir
import tensorflow as tf

from bundler.converters.native.lowering import Lowering
from bundler.converters.native.model import image_inputs
from bundler.converters.native.nodes import all_nodes
from bundler.converters.native.registry import HandlerTable
from bundler.converters.native.value import Value
from bundler.converters.native.weights import WeightStore
from bundler.errors import ConversionError, UnsupportedOpsError
from bundler.graph.onnx_signature import graph_signature
from bundler.spec.bundle_spec import SignatureLayout
from bundler.values.signature import Signature


@dataclass
class Findings:
    """The result of the walk over one graph.

    Attributes:
        nodes: all nodes of the graph, including those of branches and loop bodies.
        failed: nodes that cannot be lowered, each with its error; those without a handler first.
        unchecked: nodes that could not be checked because they depend on a failed one.
    """

    nodes: tuple[ir.Node, ...]
    failed: list[tuple[ir.Node, ConversionError]]
    unchecked: list[ir.Node]


def examine(
    graphs: Mapping[str, ir.Model], handlers: HandlerTable, *, layout: SignatureLayout = "keep"
) -> dict[str, Findings]:
    """Trace every signature as a conversion does, but go on after a failure.

    Args:
        graphs: one normalised model per signature.
        handlers: the handlers that lower the nodes.
        layout: the layout of the converted model.

    Returns:
        The findings by signature.

    Raises:
        ConversionError: an input or output is not a tensor.
    """
    declared = {name: graph_signature(model.graph) for name, model in graphs.items()}
    permutations = image_inputs(declared.values()) if layout == "nhwc" else {}
    store = WeightStore()
    findings = {}
    for name, model in graphs.items():
        notes = _Notes()
        walk = _Walk(model.graph, store, opset=model.opset_imports.get("", 1), handlers=handlers, notes=notes)
        _trace(walk, declared[name], permutations)
        findings[name] = _findings(model, handlers, notes)
    return findings


def _trace(walk: _Walk, signature: Signature, permutations: Mapping[str, tuple[int, ...]]) -> None:
    orders = {s.name: permutations.get(s.name) for s in signature.inputs}

    def function(*tensors: tf.Tensor) -> list[tf.Tensor]:
        pairs = zip(signature.inputs, tensors, strict=True)
        return walk.trace({s.name: Value.of(tensor, walk.store, orders[s.name], s.name) for s, tensor in pairs})

    arguments = []
    for spec in signature.inputs:
        shape = spec.shape if orders[spec.name] is None else [spec.shape[a] for a in orders[spec.name] or ()]
        arguments.append(tf.TensorSpec(shape, tf.as_dtype(spec.dtype)))
    tf.function(function, autograph=False).get_concrete_function(*arguments)


@dataclass
class _Notes:
    """Collected on the walk over a graph and the graphs within it; a loop's body may be walked more than once."""

    seen: set[ir.Node] = field(default_factory=set)
    errors: dict[ir.Node, ConversionError] = field(default_factory=dict)
    unknown: set[ir.Value] = field(default_factory=set)


class _UnknownError(ConversionError):
    """A value is needed that depends on a failed node and has no replacement."""

    code = "TFB3001"


class _Walk(Lowering):
    def __init__(self, graph: ir.Graph, store: WeightStore, *, notes: _Notes, **options: Any) -> None:
        super().__init__(graph, store, **options)
        self.store = store
        self._options = options
        self._notes = notes

    def trace(self, inputs: Mapping[str, Value]) -> list[tf.Tensor]:
        """Walk the graph and return its outputs, or an empty list if a failure prevents them."""
        self._bind(inputs)
        try:
            return [tf.identity(value.tensor) for value in self._walk()]
        except ConversionError as exc:
            if not self._notes.errors:
                raise  # it is not about a node: the graph itself is broken
            del exc
            return []

    def _inner(self, graph: ir.Graph) -> Lowering:
        return _Walk(graph, self.store, notes=self._notes, **{**self._options, "outer": self})

    def _lookup(self, source: ir.Value) -> Value:
        if source in self._notes.unknown:
            raise _UnknownError(f"{source.name!r} is not known.")
        return super()._lookup(source)

    def _lower(self, node: ir.Node) -> None:
        try:
            super()._lower(node)
        except _UnknownError:
            self._notes.unknown.update(node.outputs)

    def _dispatch(self, node: ir.Node, operands: list[Value | None]) -> list[Value | None]:
        self._notes.seen.add(node)
        return super()._dispatch(node, operands)

    def _placeholder_outputs(self, node: ir.Node, error: ConversionError) -> list[Value | None]:
        if isinstance(error, _UnknownError):
            self._notes.unknown.update(node.outputs)
            return []
        self._notes.errors.setdefault(node, error)
        if any(o.dtype is None or o.shape is None for o in node.outputs):
            self._notes.unknown.update(node.outputs)
            return []
        return [self._zeros(output) for output in node.outputs]


def _findings(model: ir.Model, handlers: HandlerTable, notes: _Notes) -> Findings:
    opset = model.opset_imports.get("", 1)
    nodes = tuple(all_nodes(model.graph))
    failed: list[tuple[ir.Node, ConversionError]] = []
    for node in nodes:
        if handlers.find(node.op_type, node.domain, opset) is None:
            fix = "express the line with other PyTorch operations, or provide a handler of your own with --ops"
            failed.append((node, UnsupportedOpsError("There is no handler.", fix=fix)))
    missing = {node for node, _ in failed}
    failed += [(node, notes.errors[node]) for node in nodes if node in notes.errors and node not in missing]
    return Findings(nodes, failed, _without(nodes, notes.seen | missing))


def _without(nodes: Sequence[ir.Node], known: set[ir.Node]) -> list[ir.Node]:
    return [node for node in nodes if node not in known]

"""Walks an ONNX graph and lowers each node to TensorFlow.

The same walk serves three ends: tracing (symbolic tensors, for the SavedModel and TFLite), running (eager tensors, for
the per-layer comparison) and folding (constants only, at build time).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import onnx_ir as ir
import tensorflow as tf

from bundler.converters.native import bounds, folding, report, shapes
from bundler.converters.native.by_rank import call_by_rank, unranked
from bundler.converters.native.context import Context, Target
from bundler.converters.native.dims import full_shape
from bundler.converters.native.invoke import call
from bundler.converters.native.nodes import (
    attributes_of,
    dim_names_of,
    has_graph,
    initializer_array,
    layer_scope,
    name_of,
)
from bundler.converters.native.registry import Handler, HandlerTable, builtin
from bundler.converters.native.value import Value
from bundler.converters.native.weights import WeightStore
from bundler.errors import ConversionError, TfbundleError
from bundler.graph.tensors import drop_pages

Observer: TypeAlias = "Callable[[ir.Node, Sequence[Value | None]], None]"


class Lowering:
    """One walk over one graph.

    Args:
        store: weights, shared by all graphs of the model.
        opset: the graph's opset of the default domain.
        target: what the result is for; some operators have a faster form for one of the two.
        observe: called after every node with its outputs.
        outer: the walk over the graph around this one, whose values this one can use.
        handlers: the handlers that lower the nodes; default: the built-in ones.
    """

    def __init__(
        self,
        graph: ir.Graph,
        store: WeightStore,
        *,
        opset: int,
        target: Target = "serving",
        observe: Observer | None = None,
        outer: Lowering | None = None,
        handlers: HandlerTable | None = None,
    ) -> None:
        dims = {} if outer is None else dict(outer._context.dims)
        self._graph = graph
        self._context: Context = Context(store, opset, target, dims, subgraph=self._lower_subgraph)
        self._observe = observe
        self._outer = outer
        self._handlers = handlers or builtin()
        self._values: dict[ir.Value, Value] = {}
        self._rejections: list[ConversionError] = []

    def run(self, inputs: Mapping[str, Value]) -> list[Value]:
        """Lower the graph.

        Args:
            inputs: the graph's inputs by name.

        Returns:
            The outputs in the graph's order.

        Raises:
            UnsupportedOpsError: operators have no handler; the error lists all of them.
            ConversionError: handlers reject their nodes; the error lists all, as far as the graph can be followed.
        """
        report.check_supported(self._graph, self._context.opset, self._handlers)
        self._bind(inputs)
        return self._walk()

    def _bind(self, inputs: Mapping[str, Value]) -> None:
        for declared in self._graph.inputs:
            if declared.const_value is not None:
                continue  # an initializer that the file also lists as an input (IR version 3)
            value = inputs[name_of(declared)]
            value.name = name_of(declared)
            value.dim_names = dim_names_of(declared)
            self._values[declared] = value
            self._register_dims(value)

    def _walk(self) -> list[Value]:
        for node in self._graph:
            self._lower(node)
        if self._rejections:
            raise report.rejected(self._rejections)
        return [self._lookup(output) for output in self._graph.outputs]

    def _lower_subgraph(self, graph: ir.Graph, inputs: Sequence[Value]) -> list[Value]:
        inner = self._inner(graph)
        inner._values.update(zip(graph.inputs, inputs, strict=True))
        return inner._walk()

    def _inner(self, graph: ir.Graph) -> Lowering:
        context = self._context
        return Lowering(
            graph, context.store, opset=context.opset, target=context.target, outer=self, handlers=self._handlers
        )

    def _register_dims(self, value: Value) -> None:
        """Read the named dims of an input from this input, wherever they turn up later."""
        for axis, name in enumerate(value.dim_names or () if value.rank is not None else ()):
            if name and value.shape[axis] is None:
                self._context.dim(value, axis)

    def _lookup(self, source: ir.Value) -> Value:
        if source not in self._values:
            if self._outer is not None and source.graph is not self._graph:
                return self._outer._lookup(source)
            if source.const_value is None:
                raise ConversionError(
                    f"The graph is broken: the value {source.name!r} is used before any node produces it.",
                    code="TFB3003",
                )
            self._values[source] = Value.constant(
                initializer_array(source.const_value), self._context.store, name_of(source)
            )
        return self._values[source]

    def _lower(self, node: ir.Node) -> None:
        self._context.node = node
        operands = [None if v is None else self._lookup(v) for v in node.inputs]
        try:
            results = self._dispatch(node, operands)
        except ConversionError as exc:
            results = self._placeholder_outputs(node, exc)
        for output, value in zip(node.outputs, results, strict=False):
            if value is None:
                continue
            value.name = value.name or name_of(output)
            value.dim_names = self._context.merge_dim_names(value, dim_names_of(output))
            self._values[output] = value
        for source in node.inputs:
            drop_pages(None if source is None else source.const_value)
        if self._observe is not None:
            self._observe(node, results)

    def _placeholder_outputs(self, node: ir.Node, error: ConversionError) -> list[Value | None]:
        """Return zeros for a rejected node's outputs, so that the walk goes on and one report names every such node."""
        self._rejections.append(error)
        if any(o.dtype is None or o.shape is None for o in node.outputs):
            raise report.rejected(self._rejections) from error
        try:
            return [self._zeros(output) for output in node.outputs]
        except (ValueError, TypeError, OverflowError, tf.errors.OpError):  # the file declares a wrong shape as well
            raise report.rejected(self._rejections) from error

    def _zeros(self, output: ir.Value) -> Value:
        assert output.dtype is not None and output.shape is not None
        sizes = [d if isinstance(d, int) else self._context.dims.get(d.value or "", 1) for d in output.shape]
        return self._context.value(tf.zeros(full_shape(sizes), output.dtype.numpy()))

    def _dispatch(self, node: ir.Node, operands: list[Value | None]) -> list[Value | None]:
        try:
            return self._results(node, operands)
        except TfbundleError:
            raise
        except Exception as exc:  # handlers and TensorFlow raise anything for a node that ONNX would not allow
            raise report.broken_node(node, exc, self._context.opset) from exc

    def _results(self, node: ir.Node, operands: list[Value | None]) -> list[Value | None]:
        if node.domain == "":
            folded = shapes.fold(node.op_type, operands, attributes_of(node), self._context)
            if folded is not None:
                return [folded]
        handler = self._handlers.find(node.op_type, node.domain, self._context.opset)
        if handler is None:
            raise report.unsupported([node])
        try:
            return self._handled(handler, node, operands)
        except Exception as exc:
            if handler.origin and not isinstance(exc, TfbundleError):
                raise report.broken_handler(handler, node, exc) from exc
            raise

    def _called(self, handler: Handler, node: ir.Node, operands: list[Value | None]) -> list[Value | None]:
        try:
            return call(handler, node, operands, self._context)
        except Exception:
            if unranked(operands) is None or has_graph(node):
                raise
            return call_by_rank(lambda values, context: call(handler, node, values, context), operands, self._context)

    def _handled(self, handler: Handler, node: ir.Node, operands: list[Value | None]) -> list[Value | None]:
        if folding.can_fold(handler, node, operands, self._context):
            return folding.fold(handler, node, operands, self._context)
        with tf.name_scope(layer_scope(node)):
            results = self._called(handler, node, operands)
        windows = "kernel_shape" in node.attributes and not handler.origin
        if windows and bounds.is_empty(results) and not bounds.is_empty(operands):
            raise self._context.reject(
                f"{node.op_type} has a window that is larger than its input.", fix="export the model for larger inputs"
            )
        return results

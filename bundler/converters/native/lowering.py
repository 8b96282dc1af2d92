"""Walks an ONNX graph and calls the handler of each node.

The same walk serves three ends: tracing (symbolic tensors, for the SavedModel and TFLite), running (eager tensors, for
the per-layer comparison) and folding (constants only, at build time).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
import tensorflow as tf

from bundler.converters.native import bounds, layouts, shapes
from bundler.converters.native.context import Context, Target
from bundler.converters.native.registry import AxisPolicy, Handler, HandlerTable, builtin
from bundler.converters.native.value import Value
from bundler.converters.native.weights import WeightStore
from bundler.errors import ConversionError, TfbundleError, UnsupportedOpsError, first_message_line
from bundler.graph.provenance import describe_node, source_line
from bundler.graph.tensors import drop_pages
from bundler.sources.user_code import first_line, user_line
from bundler.values.arrays import Array

_FOLD_LIMIT = 1 << 20
"""Largest constant, in elements, that folding may create beyond the size of its inputs."""

_NOT_FOLDED = frozenset(
    {
        "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial",
        "SequenceEmpty", "SequenceConstruct", "SplitToSequence", "Optional",
    }
)  # fmt: skip
"""Different in every run, or no tensors."""


def read_once(value: ir.Value | None) -> bool:
    """Whether exactly one node reads a value of the ONNX graph, or the caller of the graph and no node."""
    return value is not None and len(value.uses()) + value.is_graph_output() == 1


Observer: TypeAlias = "Callable[[ir.Node, Sequence[Value | None]], None]"


class Lowering:
    """One walk over one graph.

    Args:
        store: weights, shared by all graphs of the model.
        opset: the graph's opset of the default domain.
        target: what the result is for; some ops have a faster form for one of them.
        observe: called after every node with its outputs.
        outer: the walk over the graph around this one, whose values this one can use.
        handlers: what lowers the nodes; default: our own.
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
        """Lower the graph for these inputs (by name); the outputs in the graph's order.

        Raises:
            UnsupportedOpsError: operators without a handler, all of them.
            ConversionError: handlers reject their nodes; all of them, as far as the graph can be followed.
        """
        check_supported(self._graph, self._context.opset, self._handlers)
        self._bind(inputs)
        return self._walk()

    def _bind(self, inputs: Mapping[str, Value]) -> None:
        for declared in self._graph.inputs:
            if declared.const_value is not None:
                continue  # an initializer that the file also lists as an input (IR version 3)
            value = inputs[_name(declared)]
            value.name = _name(declared)
            value.dim_names = _dim_names(declared)
            self._values[declared] = value
            self._register_dims(value)

    def _walk(self) -> list[Value]:
        for node in self._graph:
            self._lower(node)
        if self._rejections:
            raise self._rejected()
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
        """Named dims of the inputs are read from the inputs, wherever they turn up later."""
        for axis, name in enumerate(value.dim_names or () if value.rank is not None else ()):
            if name and value.shape[axis] is None:
                self._context.dim(value, axis)

    def _lookup(self, source: ir.Value) -> Value:
        if source not in self._values:
            if self._outer is not None and source.graph is not self._graph:
                return self._outer._lookup(source)
            if source.const_value is None:
                raise ConversionError(
                    f"The value {source.name!r} is used before any node makes it: the graph is broken."
                )
            self._values[source] = Value.constant(
                initializer_array(source.const_value), self._context.store, _name(source)
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
            value.name = value.name or _name(output)
            value.dim_names = self._context.known_dims(value, _dim_names(output))
            self._values[output] = value
        for source in node.inputs:
            drop_pages(None if source is None else source.const_value)
        if self._observe is not None:
            self._observe(node, results)

    def _placeholder_outputs(self, node: ir.Node, error: ConversionError) -> list[Value | None]:
        """Zeros in place of a rejected node's outputs, so that the walk goes on and one report names every such node."""
        self._rejections.append(error)
        if any(o.dtype is None or o.shape is None for o in node.outputs):
            raise self._rejected() from error
        try:
            return [self._zeros(output) for output in node.outputs]
        except (ValueError, TypeError, OverflowError, tf.errors.OpError):  # the shape that the file states is wrong as well
            raise self._rejected() from error

    def _zeros(self, output: ir.Value) -> Value:
        assert output.dtype is not None and output.shape is not None
        sizes = [d if isinstance(d, int) else self._context.dims.get(d.value or "", 1) for d in output.shape]
        return self._context.value(tf.zeros(shapes.full_shape(sizes), output.dtype.numpy()))

    def _rejected(self) -> ConversionError:
        """One error for all rejected nodes."""
        first = self._rejections[0]
        if len(self._rejections) == 1:
            return first
        lines = [f"  {e.what}\n    {e.where}" for e in self._rejections[:20]]
        return ConversionError(
            f"{len(self._rejections)} nodes of the model cannot be converted:\n" + "\n".join(lines), fix=first.fix
        )

    def _dispatch(self, node: ir.Node, operands: list[Value | None]) -> list[Value | None]:
        try:
            return self._results(node, operands)
        except TfbundleError:
            raise
        except Exception as exc:  # whatever a handler or TensorFlow meets in a node that ONNX would not allow
            raise ConversionError(
                f"{node.op_type} cannot be lowered: {first_message_line(exc)[:300]}", where=describe_node(node),
                fix="check that the ONNX file is valid (onnx.checker); if it is, report this node and its shapes",
            ) from exc  # fmt: skip

    def _results(self, node: ir.Node, operands: list[Value | None]) -> list[Value | None]:
        folded = shapes.fold(node.op_type, operands, attributes(node), self._context) if node.domain == "" else None
        if folded is not None:
            return [folded]
        handler = self._handlers.find(node.op_type, node.domain, self._context.opset)
        if handler is None:
            raise unsupported([node])
        try:
            return self._handled(handler, node, operands)
        except Exception as exc:
            if handler.origin and not isinstance(exc, TfbundleError):
                raise _users_fault(handler, node, exc) from exc
            raise

    def _handled(self, handler: Handler, node: ir.Node, operands: list[Value | None]) -> list[Value | None]:
        if self._can_fold(node, operands) and not (handler.origin and not operands) and self._fits(handler, node, operands):
            return self._fold(handler, node, operands)
        results = self._call(handler, node, operands)
        windows = "kernel_shape" in node.attributes and not handler.origin
        if windows and bounds.is_empty(results) and not bounds.is_empty(operands):
            raise self._context.reject(
                f"{node.op_type} has a window that is larger than its input.", fix="export the model for larger inputs"
            )
        return results

    def _can_fold(self, node: ir.Node, operands: Sequence[Value | None]) -> bool:
        if node.op_type in _NOT_FOLDED or any(v is not None and not v.is_constant for v in operands):
            return False
        if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()):
            return False
        largest = max((v.array.size for v in operands if v is not None and v.array is not None), default=0)
        shape = node.outputs[0].shape
        size = 1
        for dim in shape or ():
            size *= dim if isinstance(dim, int) else 1
        return size <= max(_FOLD_LIMIT, largest)

    def _fits(self, handler: Handler, node: ir.Node, operands: list[Value | None]) -> bool:
        if node.op_type in bounds.BOUNDED or handler.origin:
            return True
        if "kernel_shape" in node.attributes and bounds.is_empty(operands):
            return False
        inner = Context(WeightStore(constants_only=True), self._context.opset, self._context.target, node=node)
        windows = "kernel_shape" in node.attributes
        return bounds.fits(lambda constants: call(handler, node, constants, inner), operands, windows=windows)

    def _fold(self, handler: Handler, node: ir.Node, operands: list[Value | None]) -> list[Value | None]:
        store = WeightStore(constants_only=True)
        with tf.init_scope(), tf.device("CPU:0"):
            constants = [None if v is None else Value.constant(_array(v), store, v.name) for v in operands]
            inner = Context(store, self._context.opset, self._context.target, node=node)
            results = call(handler, node, constants, inner)
            return [
                None if r is None else self._folded(r, _name(o)) for r, o in zip(results, node.outputs, strict=False)
            ]

    def _folded(self, result: Value, name: str) -> Value:
        value = Value.constant(_to_array(result), self._context.store, name)
        value.steps = result.steps
        return value

    def _call(self, handler: Handler, node: ir.Node, operands: list[Value | None]) -> list[Value | None]:
        with tf.name_scope(layer_scope(node)):
            return call(handler, node, operands, self._context)


def _users_fault(handler: Handler, node: ir.Node, exc: Exception) -> ConversionError:
    line = user_line(exc)
    raised = f" at {line}" if line else ""
    return ConversionError(
        f"The handler {handler.place} of {node.op_type} raised {first_line(exc)}{raised}.",
        where=describe_node(node), fix=f"correct the handler in {handler.origin}",
    )  # fmt: skip


def call(handler: Handler, node: ir.Node, operands: list[Value | None], context: Context) -> list[Value | None]:
    """Bring the operands into the order the handler asks for, call it, and wrap what it returns."""
    results = apply(handler, operands, attributes(node), context)
    _check_outputs(handler, node, results)
    return results


def apply(
    handler: Handler, operands: list[Value | None], attrs: dict[str, Any], context: Context
) -> list[Value | None]:
    """`call` without a node of its own: an operator that another one's handler is made of."""
    unknown = attrs.keys() - handler.attributes
    if unknown:
        whose = f"its handler {handler.place} does not take" if handler.origin else "ONNX does not define for it"
        raise context.reject(f"{handler.op_type} has the attribute {sorted(unknown)[0]!r}, which {whose}.")
    wrong = None if handler.origin else bounds.wrong_window(attrs)
    if wrong is not None:
        raise context.reject(f"{handler.op_type} cannot be lowered: {wrong}.", fix="export the model again")
    operands = _trim(operands, handler)
    static = _static_arrays(handler, operands, context)
    extra: tuple[Any, ...] = (context,) if handler.wants_context else ()
    arguments: Sequence[Any] = [static.get(i, v) for i, v in enumerate(operands)]
    if handler.layout is AxisPolicy.VALUES:
        return as_values(handler.function(*extra, *arguments, **attrs), layouts.LaidOutOperands([], {}, None), context)
    placed = layouts.place(handler.layout, operands, static.keys(), {**handler.axis_defaults, **attrs})
    arguments = [static.get(i, t) for i, t in enumerate(placed.tensors)]
    return as_values(handler.function(*extra, *arguments, **placed.attributes), placed, context)


def _trim(operands: list[Value | None], handler: Handler) -> list[Value | None]:
    """Optional inputs left out at the end are the parameters' defaults."""
    while operands and operands[-1] is None:
        operands = operands[:-1]
    if not handler.variadic and len(operands) > len(handler.parameters):
        raise ValueError(f"{handler.op_type} has {len(operands)} inputs; it takes at most {len(handler.parameters)}")
    return operands


def _static_arrays(handler: Handler, operands: Sequence[Value | None], context: Context) -> dict[int, Array]:
    arrays = {}
    for index, name in enumerate(handler.parameters[: len(operands)]):
        operand = operands[index]
        if name not in handler.static or operand is None:
            continue
        if operand.array is None:
            raise context.reject(
                f"{handler.op_type} needs its input {name!r} to be a constant; here it is computed at run time.",
                fix="export the model so that this value does not depend on the inputs",
            )
        arrays[index] = operand.array
    return arrays


def _check_outputs(handler: Handler, node: ir.Node, results: Sequence[Value | None]) -> None:
    """A handler that is not ours may forget to return something.

    Raises:
        ValueError: an output that the model uses is not there.
    """
    used = [i for i, output in enumerate(node.outputs) if output.uses() or output.is_graph_output()]
    missing = [i for i in used if i >= len(results) or results[i] is None]
    if handler.origin and missing:
        raise ValueError(f"it returned {len(results)} outputs, and nothing for output {missing[0]}")


def as_values(result: Any, placed: layouts.LaidOutOperands, context: Context) -> list[Value | None]:
    """What a handler returned as a list of Values; tensors are stored as its operands were placed."""
    items = list(result) if isinstance(result, (tuple, list)) else [result]
    return [
        item if item is None or isinstance(item, Value) else placed.value(tf.convert_to_tensor(item), context.store)
        for item in items
    ]


def attributes(node: ir.Node) -> dict[str, Any]:
    """The node's attributes as Python values: ints, floats, str, lists, NumPy arrays, graphs."""
    return {name: _attribute(attr) for name, attr in node.attributes.items()}


def _attribute(attr: ir.Attr) -> Any:
    if attr.type is ir.AttributeType.TENSOR:
        return attr.as_tensor().numpy()
    if attr.type in (ir.AttributeType.INTS, ir.AttributeType.FLOATS, ir.AttributeType.STRINGS):
        return list(attr.value)
    return attr.value


def check_supported(graph: ir.Graph, opset: int, handlers: HandlerTable | None = None) -> None:
    """Raise one error for all nodes of the graph that have no handler.

    Raises:
        UnsupportedOpsError: with every such operator, its node, its shapes and the line of the user's model.
    """
    table = handlers or builtin()
    missing = [n for n in all_nodes(graph) if table.find(n.op_type, n.domain, opset) is None]
    if missing:
        raise unsupported(missing)


def unsupported(nodes: Sequence[ir.Node]) -> UnsupportedOpsError:
    kinds: dict[str, list[ir.Node]] = {}
    for node in nodes:
        kinds.setdefault(f"{node.domain or 'ai.onnx'}::{node.op_type}", []).append(node)
    lines = []
    for kind, members in kinds.items():
        lines.append(f"  {kind} ({len(members)} node{'s' if len(members) > 1 else ''})")
        lines += [f"    {describe_node(node)}" for node in members[:3]]
    first = next((line for line in map(source_line, nodes) if line), None)
    return UnsupportedOpsError(
        f"{len(kinds)} operator{'s' if len(kinds) > 1 else ''} of the model cannot be converted:\n" + "\n".join(lines),
        where=first, fix="express these lines with other PyTorch operations, or try --opset / --converter onnx-tf",
    )  # fmt: skip


def all_nodes(graph: ir.Graph) -> Iterable[ir.Node]:
    """Every node of a graph and of the graphs in it."""
    return ir.traversal.RecursiveGraphIterator(graph)


def initializer_array(tensor: ir.TensorProtocol) -> Array:
    """An initializer as NumPy; strings as an object array of bytes."""
    if tensor.dtype is ir.DataType.STRING:
        texts: Any = tensor
        strings: Array = np.array(texts.string_data(), dtype=np.object_).reshape(texts.shape.numpy())
        return strings
    return tensor.numpy()


def _array(value: Value) -> Array:
    assert value.array is not None
    return value.array


def _to_array(value: Value) -> Array:
    if value.array is not None:
        return value.array
    array: Array = value.tensor.numpy()
    return array


def _name(value: ir.Value) -> str:
    return value.name or ""


def _dim_names(value: ir.Value) -> tuple[str | None, ...] | None:
    if value.shape is None:
        return None
    return tuple(None if isinstance(d, int) else d.value for d in value.shape)


def layer_scope(node: Any) -> str:
    """The name that a node (onnx_ir's or ONNX's own) has in TensorFlow's graph."""
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in node.name or node.op_type)
    return name if name[:1].isalnum() else f"n{name}"

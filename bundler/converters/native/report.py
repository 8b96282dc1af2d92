"""Errors about nodes: operators without a handler, nodes that a handler rejects, handlers that raise."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx.checker
import onnx.shape_inference
import onnx_ir as ir

from bundler.converters.native.nodes import all_nodes, has_graph
from bundler.converters.native.registry import Handler, HandlerTable
from bundler.errors import ConversionError, UnsupportedOpsError
from bundler.graph.load import SMALL, root_cause
from bundler.graph.provenance import describe_node, source_line
from bundler.process.causes import cause_of
from bundler.sources.user_code import first_line, user_line
from serving.texts import plural

_MOST_LISTED = 20
_MOST_PER_OPERATOR = 3


def check_supported(graph: ir.Graph, opset: int, handlers: HandlerTable) -> None:
    """Check that every node of the graph has a handler.

    Raises:
        UnsupportedOpsError: with every operator that has none, its nodes, their shapes and the line of the user's model.
    """
    missing = [n for n in all_nodes(graph) if handlers.find(n.op_type, n.domain, opset) is None]
    if missing:
        raise unsupported(missing)


def unsupported(nodes: Sequence[ir.Node]) -> UnsupportedOpsError:
    """Return one error for all these nodes, which have no handler, grouped by operator."""
    by_operator: dict[str, list[ir.Node]] = {}
    for node in nodes:
        by_operator.setdefault(f"{node.domain or 'ai.onnx'}::{node.op_type}", []).append(node)
    lines = []
    for operator, members in by_operator.items():
        lines.append(f"  {operator} ({plural(len(members), 'node')})")
        lines += [f"    {describe_node(node)}" for node in members[:_MOST_PER_OPERATOR]]
    first = next((line for line in map(source_line, nodes) if line), None)
    count = plural(len(by_operator), "operator")
    return UnsupportedOpsError(
        f"{count} of the model cannot be converted:\n" + "\n".join(lines), where=first,
        fix="express these lines with other PyTorch operations, or try --opset / --converter onnx-tf",
    )  # fmt: skip


def rejected(errors: Sequence[ConversionError]) -> ConversionError:
    """Return one error for all rejected nodes."""
    first = errors[0]
    if len(errors) == 1:
        return first
    lines = [f"  {e.what}\n    {e.where}" for e in errors[:_MOST_LISTED]]
    return ConversionError(
        f"{len(errors)} nodes of the model cannot be converted:\n" + "\n".join(lines), fix=first.fix, code="TFB3002"
    )


def broken_node(node: ir.Node, exc: Exception, opset: int) -> ConversionError:
    """Return the error for an exception of one of our handlers, or of TensorFlow within it.

    The model is called invalid only if ONNX's own checker or shape inference rejects the node.
    """
    problem = broken_rule(node, opset)
    if problem is not None:
        return ConversionError(
            f"{node.op_type} breaks a rule of ONNX: {problem[:300]}.", where=describe_node(node),
            fix="check the file with onnx.checker, and export it again",
            code="TFB3003",
        )  # fmt: skip
    return ConversionError(
        f"{node.op_type} is not supported here: {cause_of(exc)}", where=describe_node(node),
        fix="express this line with other PyTorch operations, or provide a handler of your own with --ops; "
        "the limit is tfbundle's: please report the node and its shapes",
        code="TFB3002",
    )  # fmt: skip


def broken_rule(node: ir.Node, opset: int) -> str | None:
    """Return how ONNX's checker or shape inference rejects a node, or None.

    The node is checked alone: with the types of its inputs, and the values of those that are small constants. A node of another
    domain, or with a branch or a body, which reads values around it, passes.
    """
    if node.domain or has_graph(node):
        return None
    inputs = {v.name: v for v in node.inputs if v is not None}
    constants = [v.const_value for v in inputs.values() if v.const_value is not None and v.const_value.size <= SMALL]
    try:
        graph = onnx.helper.make_graph(
            [ir.to_proto(node)], "node", [ir.to_proto(v) for v in inputs.values()],
            [onnx.ValueInfoProto(name=v.name) for v in node.outputs if v.name], [ir.to_proto(t) for t in constants],
        )  # fmt: skip
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
        context = type(onnx.checker.DEFAULT_CONTEXT)()
        context.ir_version, context.opset_imports = model.ir_version, {"": opset}
        onnx.checker.check_node(graph.node[0], context)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as exc:
        return root_cause(exc)
    except (ValueError, TypeError, RuntimeError):  # the node cannot be written, or ONNX has no rule for it
        return None
    return None


def broken_handler(handler: Handler, node: ir.Node, exc: Exception) -> ConversionError:
    """Return the error for an exception of a user's handler."""
    line = user_line(exc)
    raised = f" at {line}" if line else ""
    return ConversionError(
        f"The handler {handler.place} of {node.op_type} raised {first_line(exc)}{raised}.",
        where=describe_node(node), fix=f"correct the handler in {handler.origin}",
        code="TFB3102",
    )  # fmt: skip

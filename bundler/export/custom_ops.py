"""PyTorch operators that the export writes as operators of a domain of their own, for handlers to lower.

1. Tensors of the call become the node's inputs, in the order of the operator's schema; an optional tensor that is left
   out at the end has none, a list of tensors gives one input each and has to come last.
2. Every other argument becomes an attribute of its name, the schema's default where the call leaves it out; None has none.
3. Outputs are those of the schema, with the shapes that the operator's fake kernel gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir
import torch

from bundler.errors import ExportError

Table = dict[Callable[..., Any], Callable[..., Any]]


def translation_table(names: Mapping[str, tuple[str, str]]) -> Table:
    """`custom_translation_table` of torch.onnx.export.

    Args:
        names: PyTorch's `namespace::name` or `namespace::name.overload` -> ONNX domain and operator. Operators that this
            process does not know are left out: a file may have handlers for several models.
    """
    return {
        overload: _translator(overload, *names[name])
        for name in names
        for overload in _overloads(name)
    }  # fmt: skip


def _overloads(name: str) -> list[torch._ops.OpOverload]:
    namespace, _, rest = name.partition("::")
    short, _, wanted = rest.partition(".")
    packet = getattr(getattr(torch.ops, namespace), short, None)
    if packet is None:
        return []
    return [getattr(packet, own) for own in packet.overloads() if not wanted or own == wanted]


def _translator(overload: torch._ops.OpOverload, domain: str, op_type: str) -> Callable[..., Any]:
    schema: Any = overload._schema

    def translate(*args: Any, **kwargs: Any) -> Any:
        from onnxscript import evaluator

        inputs, attributes = _split(schema, args, kwargs)
        node = ir.node(op_type, inputs, attributes, domain=domain, num_outputs=len(schema.returns))
        recorder: Any = evaluator.default()  # torch's OpRecorder while it exports
        recorder.nodes.append(node)
        return node.outputs[0] if len(node.outputs) == 1 else node.outputs

    return translate


def _split(
    schema: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[ir.Value | None], dict[str, Any]]:
    """Inputs and attributes of the node.

    Raises:
        ExportError: an argument can be neither.
    """
    given = {argument.name: value for argument, value in zip(schema.arguments, args, strict=False)} | dict(kwargs)
    inputs: list[ir.Value | None] = []
    attributes: dict[str, Any] = {}
    for argument in schema.arguments:
        value = given.get(argument.name, argument.default_value)
        if "Tensor" in str(argument.type):
            inputs += value if isinstance(value, Sequence) else [value]
        elif _holds_values(value):
            raise ExportError(
                f"The argument {argument.name!r} of {schema.name} depends on a dynamic size; an attribute is a constant.",
                fix="let the operator take it from the shape of a tensor, or pass it as a tensor",
            )
        elif value is not None:
            attributes[argument.name] = _attribute(schema, argument.name, value)
    while inputs and inputs[-1] is None:
        inputs.pop()
    return inputs, attributes


def _holds_values(value: Any) -> bool:
    items = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(item, ir.Value) for item in items)


def _attribute(schema: Any, name: str, value: Any) -> Any:
    items = value if isinstance(value, (list, tuple)) else [value]
    if isinstance(value, ir.DataType):
        return int(value)
    if not all(isinstance(item, (bool, int, float, str)) for item in items):
        raise ExportError(
            f"The argument {name!r} of {schema.name} is of the type {type(value).__name__}, which ONNX has no attribute for.",
            fix="take a number, a text, or a list of numbers or texts",
        )
    return [int(i) if isinstance(i, bool) else i for i in items] if isinstance(value, (list, tuple)) else _plain(value)


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value

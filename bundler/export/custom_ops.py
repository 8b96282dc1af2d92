"""PyTorch operators that the export writes as operators of a custom domain, for handlers to lower.

1. The call's tensors become the node's inputs, in the order of the operator's schema. Optional tensors that are omitted at
   the end become no input; a list of tensors becomes one input per tensor and must come last.
2. Every other argument becomes an attribute of its name, with the schema's default if the call omits it. None becomes no
   attribute.
3. The outputs are those of the schema, with the shapes that the operator's fake kernel computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir
import torch

from bundler.errors import ExportError

Table = dict[Callable[..., Any], Callable[..., Any]]


def translation_table(names: Mapping[str, tuple[str, str]]) -> Table:
    """Return the `custom_translation_table` of torch.onnx.export.

    Args:
        names: ONNX domain and operator by PyTorch's `namespace::name` or `namespace::name.overload`. Operators that this
            process does not know are skipped: a file may have handlers for several models.
    """
    return {
        overload: _translator(overload, *names[name])
        for name in names
        for overload in _overloads(name)
    }  # fmt: skip


def _overloads(name: str) -> list[torch._ops.OpOverload]:
    namespace, _, rest = name.partition("::")
    short, _, overload = rest.partition(".")
    packet = getattr(getattr(torch.ops, namespace), short, None)
    if packet is None:
        return []
    return [getattr(packet, known) for known in packet.overloads() if not overload or known == overload]


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
    """Return the inputs and the attributes of the node.

    Raises:
        ExportError: an argument can be neither.
    """
    values = {argument.name: value for argument, value in zip(schema.arguments, args, strict=False)} | dict(kwargs)
    inputs: list[ir.Value | None] = []
    attributes: dict[str, Any] = {}
    for argument in schema.arguments:
        value = values.get(argument.name, argument.default_value)
        if "Tensor" in str(argument.type):
            inputs += value if isinstance(value, Sequence) else [value]
        elif _holds_values(value):
            raise ExportError(
                f"The argument {argument.name!r} of {schema.name} depends on a dynamic size, but an attribute is a constant.",
                fix="let the operator read it from the shape of a tensor, or pass it as a tensor",
                code="TFB2306",
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
            f"The argument {name!r} of {schema.name} is of type {type(value).__name__}, which ONNX attributes do not support.",
            fix="use a number, a string, or a list of numbers or strings",
            code="TFB2306",
        )
    return [int(i) if isinstance(i, bool) else i for i in items] if isinstance(value, (list, tuple)) else _plain(value)


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value

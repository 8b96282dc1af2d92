"""What a .tflite file may do besides computing, found without running it.

TFLite's own operators only compute. Custom operators are code of whoever registers them; those whose name begins with `Flex` are
TensorFlow's operators, which a runtime with the Flex delegate runs (tensorflow/lite/delegates/flex).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError

from serving.protocol.messages import message
from serving.protocol.tflite_file import (
    BROKEN,
    CUSTOM_CODE,
    CUSTOM_OPTIONS,
    OPCODE_INDEX,
    OPERATOR_CODES,
    OPERATORS,
    SUBGRAPHS,
    FlatTable,
    parse_model,
)
from serving.protocol.unsafe_ops import UnsafeUse, grouped, shown, why_unsafe

_FLEX = "Flex"
_OF_THE_RUNTIME = frozenset({"AudioSpectrogram", "Mfcc", "NumericVerify", "TFLite_Detection_PostProcess"})
"""Custom operators that every runtime registers itself (tensorflow/lite/core/kernels/register.cc)."""

_PLUGIN = "is a custom operator; the code of a plugin would run"


def unsafe_tflite_uses(content: bytes) -> list[UnsafeUse]:
    """Return what a .tflite file may do besides computing: one entry per operator and reason.

    Args:
        content: the bytes of the file.

    Raises:
        ValueError: the bytes are not a .tflite file.
    """
    model = parse_model(content)
    try:
        return grouped(_uses(model))
    except (*BROKEN, DecodeError) as exc:
        raise ValueError(f"the file is damaged ({exc})") from exc


def _uses(model: FlatTable) -> Iterator[UnsafeUse]:
    codes = [_custom_name(code) for code in model.tables(OPERATOR_CODES)]
    for name in codes:
        if name is not None and not name.startswith(_FLEX) and name not in _OF_THE_RUNTIME:
            yield UnsafeUse(shown(name), _PLUGIN)
        elif name is not None and name.startswith(_FLEX):
            yield from _flex_use(name, name.removeprefix(_FLEX), {})
    for graph in model.tables(SUBGRAPHS):
        for operator in graph.tables(OPERATORS):
            code = codes[operator.number(OPCODE_INDEX)]
            if code is not None and code.startswith(_FLEX):
                # The delegate runs the node in the options, whatever the operator's code says.
                node = _flex_node(operator)
                yield from _flex_use(code, node.op, node.attr)


def _flex_use(name: str, op: str, attributes: Any) -> Iterator[UnsafeUse]:
    reason = why_unsafe(op, attributes)
    if reason is not None:
        yield UnsafeUse(shown(name if name == _FLEX + op else f"{name} ({op})"), reason)


def _custom_name(code: FlatTable) -> str | None:
    """Return the name of a custom operator, or None for one of TFLite's own."""
    name = code.string(CUSTOM_CODE)
    return name.decode("utf-8", "replace") if name is not None else None


def _flex_node(operator: FlatTable) -> Any:
    """Return the `tensorflow.NodeDef` in an operator's options: a FlexBuffer vector of the operator's name and the node."""
    from flatbuffers import flexbuffers

    content = operator.octets(CUSTOM_OPTIONS)
    if not content:
        raise ValueError("a Flex operator has no options")
    options = flexbuffers.GetRoot(bytearray(content)).AsVector
    return message("tensorflow.NodeDef").FromString(bytes(options[1].AsStringBytes))

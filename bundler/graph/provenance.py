"""Describes a node for messages: its name, shapes, and the line of the user's PyTorch code that torch recorded."""

from __future__ import annotations

import re

import onnx_ir as ir

STACK_TRACE = "pkg.torch.onnx.stack_trace"
"""The key of node.metadata_props under which torch.onnx.export(dynamo=True) records the Python stack."""

FX_NODE = "pkg.torch.onnx.fx_node"
"""The key under which it records the torch operation that a node comes from."""

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)(?:\n\s+(?P<code>[^\n]+))?')
_LIBRARIES = ("/torch/", "/timm/", "/transformers/", "/site-packages/", "/dist-packages/")


def source_line(node: ir.Node) -> str | None:
    """Return the innermost frame of the user's own code, such as `file.py:12 in forward: y = torch.fft.fft(x)`.

    Return None if torch recorded no stack.
    """
    frames = list(_FRAME.finditer(node.metadata_props.get(STACK_TRACE, "")))
    user_frames = [f for f in frames if not any(part in f["file"] for part in _LIBRARIES)]
    innermost = (user_frames or frames)[-1:]
    if not innermost:
        return None
    frame = innermost[0]
    code = f": {frame['code'].strip()}" if frame["code"] else ""
    return f"{frame['file']}:{frame['line']} in {frame['function']}{code}"


def describe_node(node: ir.Node) -> str:
    """Return a description of a node for messages.

    For example: `node 'conv1' (Conv: float32[batch,3,8,8], float32[4,3,3,3] -> float32[batch,4,8,8]), model.py:12 in forward: …`.
    """
    inputs = ", ".join(_describe(v) for v in node.inputs if v is not None)
    outputs = ", ".join(_describe(v) for v in node.outputs)
    text = (
        f"node {node.name or (node.outputs[0].name if node.outputs else '?')!r} ({node.op_type}: {inputs} -> {outputs})"
    )
    line = source_line(node)
    return f"{text}, {line}" if line else text


def _describe(value: ir.Value) -> str:
    dtype = value.dtype.name.lower() if value.dtype is not None else "?"
    names = {"float": "float32", "double": "float64"}
    if value.shape is None:
        return f"{names.get(dtype, dtype)}[…]"
    dims = ",".join(str(d if isinstance(d, int) else d.value or "?") for d in value.shape)
    return f"{names.get(dtype, dtype)}[{dims}]"

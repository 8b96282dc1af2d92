"""Where a node comes from: its name, shapes, and the line of the user's PyTorch code that torch noted in the model."""

from __future__ import annotations

import re
from collections.abc import Iterator

import onnx_ir as ir

STACK_TRACE = "pkg.torch.onnx.stack_trace"
"""Key of node.metadata_props under which torch.onnx.export(dynamo=True) keeps the Python stack."""

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)(?:\n\s+(?P<code>[^\n]+))?')
_LIBRARIES = ("/torch/", "/timm/", "/transformers/", "/site-packages/", "/dist-packages/")


def source_line(node: ir.Node) -> str | None:
    """`file.py:12 in forward: y = torch.fft.fft(x)`, the innermost frame of the user's own code, or None if torch noted none."""
    frames = list(_frames(node.metadata_props.get(STACK_TRACE, "")))
    own = [f for f in frames if not any(part in f["file"] for part in _LIBRARIES)]
    chosen = (own or frames)[-1:]
    if not chosen:
        return None
    frame = chosen[0]
    code = f": {frame['code'].strip()}" if frame["code"] else ""
    return f"{frame['file']}:{frame['line']} in {frame['function']}{code}"


def _frames(trace: str) -> Iterator[re.Match[str]]:
    return _FRAME.finditer(trace)


def describe_node(node: ir.Node) -> str:
    """`node 'conv1' (Conv: float32[batch,3,8,8], float32[4,3,3,3] -> float32[batch,4,8,8]), model.py:12 in forward: …`."""
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

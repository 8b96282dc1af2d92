"""Messages name a node with its shapes and the line of the user's code."""

from __future__ import annotations

import onnx_ir as ir

from bundler.graph.provenance import STACK_TRACE, describe_node, source_line

TRACE = """
File "/home/me/model.py", line 12, in forward
    y = torch.fft.fft(x)
File "/venv/lib/python3.11/site-packages/torch/nn/modules/module.py", line 1, in _call_impl
    return forward_call(*args, **kwargs)
"""


def node(metadata: dict[str, str] | None = None) -> ir.Node:
    x = ir.Value(name="x", shape=ir.Shape(["batch", 3]), type=ir.TensorType(ir.DataType.FLOAT))
    return ir.Node("", "Relu", [x], name="relu", metadata_props=metadata)


def test_innermost_line_of_the_user_is_named() -> None:
    assert source_line(node({STACK_TRACE: TRACE})) == "/home/me/model.py:12 in forward: y = torch.fft.fft(x)"
    library = TRACE[TRACE.index('File "/venv') :]
    assert source_line(node({STACK_TRACE: library})) is not None
    assert source_line(node()) is None


def test_description_has_name_operator_and_shapes() -> None:
    assert describe_node(node()) == "node 'relu' (Relu: float32[batch,3] -> ?[…])"
    assert describe_node(node({STACK_TRACE: TRACE})).endswith(", /home/me/model.py:12 in forward: y = torch.fft.fft(x)")

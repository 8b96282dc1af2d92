"""Diagnosis of a failed comparison: the stage at fault, and the first layer whose value differs.

1. If ONNX Runtime differs from PyTorch too, the export is at fault, since the conversion starts from the ONNX file; or PyTorch
   is not deterministic. ONNX Runtime runs the nodes as written, because its fusions have faults of their own.
2. If ONNX Runtime agrees and the SavedModel differs, the conversion is at fault. ONNX Runtime and the native engine both
   return every intermediate value; the first that differs, in the order of the nodes, names the layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bundler.errors import ParityError, TfbundleError
from bundler.graph.onnx_runtime import OnnxModel, onnx_values
from bundler.values.arrays import Array
from serving.golden.compare import Difference, compare

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

    from bundler.converters.native.registry import HandlerTable
    from bundler.values.exported import ExportedSignature

_RANDOM = "PyTorch itself: two runs on the same inputs differ; the model is random even in eval mode."

Intermediates = Iterable[tuple[str, Any, Array]]


@dataclass(frozen=True)
class FailedCall:
    """A call whose outputs differ: the inputs, and PyTorch's outputs."""

    exported: ExportedSignature
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    tolerance: float

    def wrong(self, got: Mapping[str, Any]) -> list[str]:
        """Return the names of the outputs that differ from PyTorch's."""
        return [n for n, want in self.outputs.items() if n not in got or not self._equal(n, want, got[n])]

    def _equal(self, name: str, want: Array, got: Any) -> bool:
        return compare(name, np.asarray(want), np.asarray(got)).within(self.tolerance)


def export_at_fault(call: FailedCall) -> str:
    """Explain in one or two sentences why ONNX Runtime and the SavedModel both differ from PyTorch."""
    if _is_random(call):
        return _RANDOM
    try:
        plain = OnnxModel(call.exported.onnx, optimize=False)(call.inputs)
    except TfbundleError as exc:
        return f"the export: {exc.what}"
    wrong = call.wrong(plain) or list(call.outputs)
    place = _producer(call.exported.onnx, wrong[0])
    return f"the export: the ONNX file itself differs from {call.exported.referee.name}, in {place}."


def _is_random(call: FailedCall) -> bool:
    return bool(call.wrong(call.exported.reference(call.inputs)))


def conversion_at_fault(call: FailedCall, *, native: bool, handlers: HandlerTable | None = None) -> str:
    """Explain in one or two sentences which layer of the ONNX graph TensorFlow computes differently.

    Args:
        call: the call that differs.
        native: whether the native converter made the SavedModel.
        handlers: its handlers; None: the built-in ones and those of installed packages.
    """
    try:
        OnnxModel(call.exported.onnx, optimize=False)(call.inputs)
    except ParityError as exc:
        if _is_random(call):
            return _RANDOM
        return f"the export or the conversion: {exc.what} It is unknown which of them is at fault{_suspects(call, handlers)}."
    fault = f"the conversion: ONNX Runtime agrees with {call.exported.referee.name}, the SavedModel does not"
    if not native:
        return f"{fault}; use --converter native to find the layer."
    from bundler.converters.native import run_intermediates

    try:
        expected = onnx_values(call.exported.onnx, call.inputs)
        first = first_divergence(expected, run_intermediates(call.exported.onnx, call.inputs, handlers), call.tolerance)
    except TfbundleError as exc:
        place = f" ({exc.where})" if exc.where else ""
        return f"{fault}; the layers could not be compared: {exc.what}{place}"
    if first is None:
        return f"{fault}; each layer agrees by itself, so the fault is in how the SavedModel combines them."
    node, difference = first
    return f"{fault}. First differing layer: {_describe(node)}: {difference.explain()}."


def _suspects(call: FailedCall, handlers: HandlerTable | None) -> str:
    """Name the custom handlers that the graph uses."""
    if handlers is None:
        return ""
    import onnx_ir as ir

    from bundler.converters.native.registry import defined_at

    model = ir.load(call.exported.onnx)
    opset = model.opset_imports.get("", 1)
    operators = {(node.op_type, node.domain) for node in model.graph.all_nodes()}
    used = [handlers.find(*operator, opset) for operator in sorted(operators)]
    custom = [f"{handler.place} ({defined_at(handler)})" for handler in used if handler is not None and handler.origin]
    return f"; look first at {', '.join(custom)}" if custom else ""


def first_divergence(
    expected: Mapping[str, Array], values: Intermediates, tolerance: float
) -> tuple[Any, Difference] | None:
    """Return the node and the difference of the first value that differs from the expected value of its name.

    Args:
        expected: values by name.
        values: name, node and array of each value, in the order of the nodes; names without an expected value are skipped.
        tolerance: the largest relative error that passes.
    """
    for name, node, array in values:
        if name not in expected:
            continue
        difference = compare(name, expected[name], np.asarray(array))
        if not difference.within(tolerance):
            return node, difference
    return None


def _producer(path: Path, output: str) -> str:
    """Describe the node that computes an output, with its operator and the user's line."""
    import onnx_ir as ir

    for value in ir.load(path).graph.outputs:
        node = value.producer()
        if value.name == output and node is not None:
            return f"output {output!r}, {_describe(node)}"
    return f"output {output!r}"


def _describe(node: ir.Node) -> str:
    from bundler.graph.provenance import describe_node

    return describe_node(node)

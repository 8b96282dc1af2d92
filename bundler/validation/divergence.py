"""Where a failed comparison begins: which stage is at fault, and the first layer whose value is off.

1. ONNX Runtime differs from PyTorch: the export is at fault (or PyTorch is not deterministic, or ONNX
   Runtime's own fusions are), for the conversion starts from the ONNX file.
2. ONNX Runtime agrees, the SavedModel differs: the conversion is at fault. ONNX Runtime gives every
   intermediate value, the native engine too; the first that differs, in the nodes' order, names the layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bundler.errors import TfbundleError
from bundler.graph.onnx_runtime import CannotLoadError, OnnxModel, onnx_values
from bundler.values.arrays import Array
from serving.golden.compare import Difference, compare

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

    from bundler.converters.native.registry import HandlerTable
    from bundler.values.exported import ExportedSignature

Intermediates = Iterable[tuple[str, Any, Array]]


@dataclass(frozen=True)
class FailedCall:
    """A call whose answers differ: PyTorch's inputs and outputs."""

    exported: ExportedSignature
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    tolerance: float

    def wrong(self, got: Mapping[str, Any]) -> list[str]:
        """Names of the outputs that are not PyTorch's."""
        return [n for n, want in self.outputs.items() if n not in got or not self._equal(n, want, got[n])]

    def _equal(self, name: str, want: Array, got: Any) -> bool:
        return compare(name, np.asarray(want), np.asarray(got)).within(self.tolerance)


def export_at_fault(call: FailedCall, *, also_served: bool) -> str:
    """Why ONNX Runtime differs from PyTorch, as one or two sentences.

    Args:
        also_served: whether the SavedModel differs too.
    """
    if call.wrong(call.exported.reference(call.inputs)):
        return "PyTorch itself: two runs on the same inputs differ; the model is random even in eval mode."
    if not also_served:
        return "ONNX Runtime alone: the SavedModel, made from the same ONNX file, answers as PyTorch does."
    try:
        plain = OnnxModel(call.exported.onnx, optimize=False)(call.inputs)
    except TfbundleError as exc:
        return f"the export: {exc.what}"
    wrong = call.wrong(plain)
    if not wrong:
        return "ONNX Runtime's fusions and the SavedModel: without fusions ONNX Runtime agrees with PyTorch."
    place = _producer(call.exported.onnx, wrong[0])
    return f"the export: the ONNX file itself differs from PyTorch, in {place}."


def conversion_at_fault(call: FailedCall, *, native: bool, handlers: HandlerTable | None = None) -> str:
    """Which layer of the ONNX graph TensorFlow computes otherwise, as one or two sentences."""
    try:
        OnnxModel(call.exported.onnx)
    except CannotLoadError as exc:
        return f"the export or the conversion: {exc.what} So they cannot be told apart{_suspects(call, handlers)}."
    fault = "the conversion: ONNX Runtime answers as PyTorch does, the SavedModel does not"
    if not native:
        return f"{fault}; --converter native names the layer."
    from bundler.converters.native import run_intermediates

    try:
        want = onnx_values(call.exported.onnx, call.inputs)
        first = first_divergence(want, run_intermediates(call.exported.onnx, call.inputs, handlers), call.tolerance)
    except TfbundleError as exc:
        return f"{fault}; the layers could not be compared: {exc.what}"
    if first is None:
        return f"{fault}; every layer alone agrees, so the fault is in what the SavedModel makes of them."
    node, difference = first
    return f"{fault}. First differing layer: {_describe(node)}: {difference.explain()}."


def _suspects(call: FailedCall, handlers: HandlerTable | None) -> str:
    """The handlers of others that the graph asks for."""
    if handlers is None:
        return ""
    import onnx_ir as ir

    from bundler.converters.native.registry import defined_at

    model = ir.load(call.exported.onnx)
    opset = model.opset_imports.get("", 1)
    asked = {(node.op_type, node.domain) for node in model.graph.all_nodes()}
    found = [handlers.find(*key, opset) for key in sorted(asked)]
    own = [f"{h.place} ({defined_at(h)})" for h in found if h is not None and h.origin]
    return f"; look first at {', '.join(own)}" if own else ""


def first_divergence(
    want: Mapping[str, Array], got: Intermediates, tolerance: float
) -> tuple[Any, Difference] | None:
    """Node and difference of the first value, in the order of `got`, that is not its namesake in `want`."""
    for name, node, array in got:
        if name not in want:
            continue
        difference = compare(name, want[name], np.asarray(array))
        if not difference.within(tolerance):
            return node, difference
    return None


def _producer(path: Path, output: str) -> str:
    """The node that makes an output, with its operator and the user's line."""
    import onnx_ir as ir

    for value in ir.load(path).graph.outputs:
        node = value.producer()
        if value.name == output and node is not None:
            return f"output {output!r}, {_describe(node)}"
    return f"output {output!r}"


def _describe(node: ir.Node) -> str:
    from bundler.graph.provenance import describe_node

    return describe_node(node)

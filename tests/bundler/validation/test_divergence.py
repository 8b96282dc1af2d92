"""The diagnosis of a difference: the first layer whose value differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir

from bundler.graph.onnx_runtime import onnx_values
from bundler.validation import divergence
from bundler.values.arrays import Array
from tests.bundler.hand_written import exported, slightly_wrong

TOLERANCE = 1e-4


def test_the_first_differing_layer_is_found(tmp_path: Path) -> None:
    good, bad = exported(tmp_path / "good.onnx"), exported(tmp_path / "bad.onnx", **slightly_wrong("bias"))
    want, got = (onnx_values(one.onnx, one.examples) for one in (good, bad))
    assert set(want) >= {"features", "active", "pooled", "words", "logits", "label"}
    nodes = list(ir.load(good.onnx).graph)
    stream = [(value.name, node, got[value.name]) for node in nodes for value in node.outputs]
    first = divergence.first_divergence(want, stream, TOLERANCE)
    assert first is not None
    node, difference = first
    assert (node.name, node.op_type, difference.output) == ("node_features", "Conv", "features")
    assert divergence.first_divergence(want, [(n, None, a) for n, a in want.items()], TOLERANCE) is None


def failed_call(path: Path, **wrong: Array) -> divergence.FailedCall:
    signature: Any = exported(path, **wrong)
    return divergence.FailedCall(signature, signature.examples, signature.reference(signature.examples), TOLERANCE)


def test_outputs_that_differ_or_are_missing_are_named(tmp_path: Path) -> None:
    call = failed_call(tmp_path / "m.onnx")
    assert call.wrong(call.outputs) == []
    assert call.wrong({"label": call.outputs["label"]}) == ["logits"]
    assert call.wrong({**call.outputs, "logits": call.outputs["logits"] * 2}) == ["logits"]


def test_a_graph_that_onnx_runtime_cannot_run_leaves_the_stage_open(tmp_path: Path) -> None:
    call = failed_call(tmp_path / "m.onnx")
    short = {name: array[:, :1] for name, array in call.inputs.items()}
    stopped = divergence.FailedCall(call.exported, short, call.outputs, TOLERANCE)
    stopped.exported.reference = lambda inputs: dict(call.outputs)
    hint = divergence.conversion_at_fault(stopped, native=True)
    assert hint.startswith("the export or the conversion: ONNX Runtime failed: ")
    assert hint.endswith("It is unknown which of them is at fault.")


def test_another_converter_cannot_name_the_layer(tmp_path: Path) -> None:
    hint = divergence.conversion_at_fault(failed_call(tmp_path / "m.onnx"), native=False)
    assert hint.endswith("; use --converter native to find the layer.")

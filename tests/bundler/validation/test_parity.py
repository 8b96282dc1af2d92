"""Parity of a model written by hand: equal artifacts pass; each kind of fault is detected, named and told apart."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundler.errors import ParityError
from bundler.validation import parity
from bundler.validation.golden import make_golden
from bundler.validation.golden_check import check_golden
from bundler.validation.report import ParityReport
from bundler.values.comparison import ONNX_RUNTIME, SAVED_MODEL
from tests.bundler.hand_written import Converted, Exported, exported, slightly_wrong

TOLERANCE = 1e-4


def check(one: Exported, folder: Path, **options: Any) -> ParityReport:
    return parity.check(parity.run_references([one]), folder, tolerance=TOLERANCE, **options)


def test_an_equal_model_passes_every_draw(tmp_path: Path, saved: Path) -> None:
    report = check(exported(tmp_path / "m.onnx"), saved)
    assert report.passed
    assert report.hint is None
    keys = [(row.runtime, row.draw, row.difference.output) for row in report.rows]
    draws = ["example", "random", "batch-1", "batch-5", "seq-5"]
    runtimes = (ONNX_RUNTIME, SAVED_MODEL)
    assert keys == [(r, d, o) for r in runtimes for d in draws for o in ("logits", "label")]
    assert 0 < report.worst(SAVED_MODEL) < TOLERANCE


def test_a_length_that_pytorch_refuses_is_left_out_with_the_reason(tmp_path: Path, saved: Path) -> None:
    report = check(exported(tmp_path / "m.onnx"), saved)
    assert len(report.left_out) == 1
    assert "serving_default, draw seq-15: PyTorch rejects it (RuntimeError: " in report.left_out[0]
    assert report.to_json()["left_out"] == list(report.left_out)


def test_an_example_that_pytorch_refuses_is_an_error(tmp_path: Path) -> None:
    one = exported(tmp_path / "m.onnx")
    one.examples["ids"] = np.zeros((2, 15), np.int64)
    with pytest.raises(RuntimeError, match="size of tensor"):
        parity.run_references([one])


def test_a_wrong_conversion_fails_in_the_saved_model_only(tmp_path: Path) -> None:
    Converted(**slightly_wrong("kernel")).save(tmp_path / "1")
    report = check(exported(tmp_path / "m.onnx"), tmp_path / "1", engine=parity.Engine(native=False))
    assert not report.passed
    assert {row.runtime for row in report.failures} == {SAVED_MODEL}
    assert report.hint is not None
    assert report.hint.startswith("the conversion: ONNX Runtime agrees with PyTorch, the SavedModel does not")
    with pytest.raises(ParityError) as caught:
        raise report.error()
    assert caught.value.exit_code == 3
    assert "saved_model, serving_default, draw " in str(caught.value)
    assert "output 'logits' at [" in str(caught.value)


def test_a_wrong_export_is_diagnosed_with_the_users_line(tmp_path: Path) -> None:
    Converted(**slightly_wrong("head")).save(tmp_path / "1")
    report = check(exported(tmp_path / "m.onnx", **slightly_wrong("head")), tmp_path / "1")
    assert {row.runtime for row in report.failures} == {ONNX_RUNTIME, SAVED_MODEL}
    assert report.hint is not None
    assert report.hint.startswith("the export: the ONNX file itself differs from PyTorch, in output 'logits'")
    assert "node_logits" in report.hint
    assert "/home/ana/model.py:12 in forward" in report.hint


def test_a_random_model_is_diagnosed(tmp_path: Path, saved: Path) -> None:
    rng = np.random.default_rng()

    def noisy(inputs: dict[str, Any]) -> dict[str, Any]:
        outputs = reference(inputs)
        noise = rng.normal(size=outputs["logits"].shape).astype(np.float32)
        return outputs | {"logits": outputs["logits"] + noise}

    one = exported(tmp_path / "m.onnx")
    reference = one.reference
    one.reference = noisy
    report = check(one, saved)
    assert not report.passed
    assert report.hint is not None
    assert report.hint.startswith("PyTorch itself: two runs on the same inputs differ")


def test_a_saved_model_that_refuses_a_length_fails_with_its_message(tmp_path: Path) -> None:
    import tensorflow as tf

    model = Converted()
    function = model.static({"image": (2, 3, 8, 8), "ids": (2, 10)})
    tf.saved_model.save(model, str(tmp_path / "1"), signatures={"serving_default": function})
    report = check(exported(tmp_path / "m.onnx"), tmp_path / "1", engine=parity.Engine(native=False))
    assert {row.draw for row in report.failures} == {"seq-5"}
    assert all("TensorFlow stopped" in (row.difference.problem or "") for row in report.failures)


def test_a_missing_signature_or_folder_is_reported(tmp_path: Path, saved: Path) -> None:
    one = exported(tmp_path / "m.onnx")
    one.name = "embed"
    report = check(one, saved)
    assert not report.passed
    assert "The SavedModel has no signature 'embed'." in str(report.error())
    with pytest.raises(ParityError, match="TensorFlow cannot load"):
        check(one, tmp_path / "nowhere")


def test_an_operator_without_kernel_in_onnx_runtime_is_reported(tmp_path: Path, saved: Path) -> None:
    import onnx

    one = exported(tmp_path / "m.onnx")
    model = onnx.load(str(one.onnx))
    model.graph.node[1].domain = "com.example"
    model.opset_import.add(domain="com.example", version=1)
    onnx.save(model, str(one.onnx))
    report = check(one, saved)
    assert report.passed is (not report.failures)
    assert [row for row in report.rows if row.runtime == SAVED_MODEL]
    messages = " ".join([*report.left_out, *(row.explain() for row in report.failures)])
    assert "ONNX Runtime" in messages
    assert "com.example" in messages


def test_inputs_of_layout_nhwc_are_in_the_served_order(tmp_path: Path) -> None:
    converted = Converted(nhwc=True)
    converted.save(tmp_path / "1")
    one = exported(tmp_path / "m.onnx")
    assert check(one, tmp_path / "1", permutations=converted.permutations).passed
    golden = make_golden("m", parity.run_references([one]), tolerance=1e-4, permutations=converted.permutations)
    assert golden.cases[0].inputs["image"].shape == (2, 8, 8, 3)
    assert check_golden(golden, tmp_path / "1").passed


def test_the_native_engine_names_the_first_wrong_layer_and_the_users_line(tmp_path: Path) -> None:
    import tensorflow as tf

    from bundler.converters.native import NativeConverter, registry

    one = exported(tmp_path / "m.onnx")
    NativeConverter().convert({one.name: one.onnx}).save(tmp_path / "good")
    assert check(one, tmp_path / "good").passed

    nothing = frozenset[str]()
    relu = registry.describe(lambda x: tf.nn.relu(x) * 1.01, "Relu", "", 1, registry.AxisPolicy.ELEMENTWISE, nothing)
    wrong = dataclasses.replace(relu, override=True)
    table = registry.builtin().with_layer([wrong])
    NativeConverter(table).convert({one.name: one.onnx}).save(tmp_path / "wrong")
    report = check(one, tmp_path / "wrong", engine=parity.Engine(handlers=table))
    assert {row.runtime for row in report.failures} == {SAVED_MODEL}
    assert report.hint is not None
    assert "First differing layer: node 'node_active' (Relu: " in report.hint
    assert "/home/ana/model.py:12 in forward" in report.hint
    assert "output 'active' at [" in report.hint

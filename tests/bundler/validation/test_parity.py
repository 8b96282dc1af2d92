"""Parity on a model written by hand: what agrees passes; each kind of fault is seen, named and told apart."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundler.errors import ParityError
from bundler.graph.onnx_runtime import onnx_values
from bundler.validation import divergence, parity
from bundler.validation.golden import make_golden
from bundler.validation.report import ParityReport
from bundler.values.comparison import ONNX_RUNTIME, SAVED_MODEL, Row
from serving.golden.compare import Difference
from serving.golden.data import Golden
from tests.bundler.hand_written import Converted, Exported, exported, weights

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SavedModel of the unchanged model."""
    folder = tmp_path_factory.mktemp("saved") / "1"
    Converted().save(folder)
    return folder


def broken(name: str) -> dict[str, Any]:
    """One weight, slightly wrong."""
    return {name: weights()[name] * np.float32(1.01)}


def check(one: Exported, folder: Path, **options: Any) -> ParityReport:
    return parity.check(parity.run_references([one]), folder, tolerance=TOLERANCE, **options)


def test_an_equal_model_passes_in_every_draw(tmp_path: Path, saved: Path) -> None:
    report = check(exported(tmp_path / "m.onnx"), saved)
    assert report.passed
    assert report.hint is None
    keys = [(row.runtime, row.draw, row.difference.output) for row in report.rows]
    draws = ["example", "random", "batch-1", "batch-5", "seq-5"]
    runtimes = (ONNX_RUNTIME, SAVED_MODEL)
    assert keys == [(r, d, o) for r in runtimes for d in draws for o in ("logits", "label")]
    assert 0 < report.worst(SAVED_MODEL) < TOLERANCE


def test_a_length_that_pytorch_refuses_is_left_out_and_said(tmp_path: Path, saved: Path) -> None:
    report = check(exported(tmp_path / "m.onnx"), saved)
    assert len(report.left_out) == 1
    assert "serving_default, draw seq-15: PyTorch refuses it (RuntimeError: " in report.left_out[0]
    assert report.to_json()["left_out"] == list(report.left_out)


def test_an_example_that_pytorch_refuses_is_an_error(tmp_path: Path) -> None:
    one = exported(tmp_path / "m.onnx")
    one.examples["ids"] = np.zeros((2, 15), np.int64)
    with pytest.raises(RuntimeError, match="size of tensor"):
        parity.run_references([one])


def test_a_wrong_conversion_fails_and_onnx_runtime_does_not(tmp_path: Path) -> None:
    Converted(**broken("kernel")).save(tmp_path / "1")
    report = check(exported(tmp_path / "m.onnx"), tmp_path / "1", converter="onnx-tf")
    assert not report.passed
    assert {row.runtime for row in report.failures} == {SAVED_MODEL}
    assert report.hint is not None
    assert report.hint.startswith("the conversion: ONNX Runtime answers as PyTorch does")
    with pytest.raises(ParityError) as caught:
        raise report.error()
    assert caught.value.exit_code == 3
    assert "saved_model, serving_default, draw " in str(caught.value)
    assert "output 'logits' at [" in str(caught.value)


def test_a_wrong_export_is_told_apart_with_the_users_line(tmp_path: Path) -> None:
    Converted(**broken("head")).save(tmp_path / "1")
    report = check(exported(tmp_path / "m.onnx", **broken("head")), tmp_path / "1")
    assert {row.runtime for row in report.failures} == {ONNX_RUNTIME, SAVED_MODEL}
    assert report.hint is not None
    assert report.hint.startswith("the export: the ONNX file itself differs from PyTorch, in output 'logits'")
    assert "node_logits" in report.hint
    assert "/home/ana/model.py:12 in forward" in report.hint


def test_a_random_model_is_told_apart(tmp_path: Path, saved: Path) -> None:
    rng = np.random.default_rng()

    def noisy(inputs: dict[str, Any]) -> dict[str, Any]:
        answer = one_reference(inputs)
        noise = rng.normal(size=answer["logits"].shape).astype(np.float32)
        return answer | {"logits": answer["logits"] + noise}

    one = exported(tmp_path / "m.onnx")
    one_reference = one.reference
    one.reference = noisy
    report = check(one, saved)
    assert not report.passed
    assert report.hint is not None
    assert report.hint.startswith("PyTorch itself: two runs on the same inputs differ")


def test_the_first_differing_layer_is_found(tmp_path: Path) -> None:
    import onnx_ir as ir

    good, bad = exported(tmp_path / "good.onnx"), exported(tmp_path / "bad.onnx", **broken("bias"))
    want, got = (onnx_values(one.onnx, one.examples) for one in (good, bad))
    assert set(want) >= {"features", "active", "pooled", "words", "logits", "label"}
    nodes = list(ir.load(good.onnx).graph)
    stream = [(value.name, node, got[value.name]) for node in nodes for value in node.outputs]
    found = divergence.first_divergence(want, stream, TOLERANCE)
    assert found is not None
    node, difference = found
    assert (node.name, node.op_type, difference.output) == ("node_features", "Conv", "features")
    assert divergence.first_divergence(want, [(n, None, a) for n, a in want.items()], TOLERANCE) is None


def test_wrong_dtype_shape_and_names_are_problems() -> None:
    want = {"a": np.zeros((2, 3), np.float32), "b": np.zeros(2, np.int64), "c": np.zeros(1, np.float32)}
    got = {"a": np.zeros((2, 4), np.float32), "b": np.zeros(2, np.int32), "d": np.zeros(1, np.float32)}
    problems = {d.output: d.problem for d in parity.differences(want, got)}
    assert problems == {
        "a": "expected shape [2, 3], got [2, 4]",
        "b": "expected dtype int64, got int32",
        "c": "not among the outputs ['a', 'b', 'd']",
        "d": "the PyTorch model has no such output",
    }


def test_a_saved_model_that_cannot_take_a_length_fails_with_its_words(tmp_path: Path) -> None:
    import tensorflow as tf

    model = Converted()
    function = model.static({"image": (2, 3, 8, 8), "ids": (2, 10)})
    tf.saved_model.save(model, str(tmp_path / "1"), signatures={"serving_default": function})
    report = check(exported(tmp_path / "m.onnx"), tmp_path / "1", converter="onnx-tf")
    assert {row.draw for row in report.failures} == {"seq-5"}
    assert all("TensorFlow stopped" in (row.difference.problem or "") for row in report.failures)


def test_a_missing_signature_and_a_missing_folder(tmp_path: Path, saved: Path) -> None:
    one = exported(tmp_path / "m.onnx")
    one.name = "embed"
    report = check(one, saved)
    assert not report.passed
    assert "The SavedModel has no signature 'embed'." in str(report.error())
    with pytest.raises(ParityError, match="TensorFlow cannot load"):
        check(one, tmp_path / "nowhere")


def test_a_model_without_kernel_in_onnx_runtime_is_left_out_and_said(tmp_path: Path, saved: Path) -> None:
    import onnx

    one = exported(tmp_path / "m.onnx")
    model = onnx.load(str(one.onnx))
    model.graph.node[1].domain = "com.example"
    model.opset_import.add(domain="com.example", version=1)
    onnx.save(model, str(one.onnx))
    report = check(one, saved)
    assert report.passed is (not report.failures)
    assert [row for row in report.rows if row.runtime == SAVED_MODEL]
    said = " ".join([*report.left_out, *(row.explain() for row in report.failures)])
    assert "ONNX Runtime" in said
    assert "com.example" in said


def test_nothing_compared_is_not_passed() -> None:
    assert not ParityReport(TOLERANCE, ()).passed


def test_only_gated_rows_decide_and_the_report_is_plain_json() -> None:
    inf = float("inf")
    rows = (
        Row("serving_default", "example", SAVED_MODEL, Difference("y", 1e-6, 1e-6)),
        Row("serving_default", "example", "tflite-int8", Difference("y", 0.5, 0.2), gated=False),
        Row("serving_default", "random", "tflite-int8", Difference("y", inf, inf, "NaN"), gated=False),
    )
    report = ParityReport(TOLERANCE, rows)
    assert report.passed
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert [line["verdict"] for line in data["summary"]] == ["passed", "reported"]
    assert data["summary"][1]["draws"] == 2
    assert data["summary"][1]["worst_draw"] == "random"
    assert data["results"][1]["max_rel"] == 0.2
    assert "max_rel" not in data["results"][2]
    gated = dataclasses.replace(rows[1], gated=True)
    assert not ParityReport(TOLERANCE, (*rows, gated)).passed


def test_layout_nhwc_is_asked_in_the_served_order(tmp_path: Path) -> None:
    converted = Converted(nhwc=True)
    converted.save(tmp_path / "1")
    one = exported(tmp_path / "m.onnx")
    assert check(one, tmp_path / "1", permutations=converted.permutations).passed
    golden = make_golden("m", parity.run_references([one]), tolerance=1e-4, permutations=converted.permutations)
    assert golden.cases[0].inputs["image"].shape == (2, 8, 8, 3)
    assert parity.check_golden(golden, tmp_path / "1").passed


def test_golden_data_comes_back_from_disk_and_sees_a_changed_weight(tmp_path: Path, saved: Path) -> None:
    golden = make_golden("m", parity.run_references([exported(tmp_path / "m.onnx")]), tolerance=TOLERANCE)
    assert [case.name for case in golden.cases] == ["example", "random", "batch-1", "batch-5", "seq-5"]
    golden.save(tmp_path / "golden.npz")
    loaded = Golden.load(tmp_path / "golden.npz")
    assert parity.check_golden(loaded, saved).passed
    Converted(**broken("head")).save(tmp_path / "other")
    assert not parity.check_golden(loaded, tmp_path / "other").passed


def test_golden_data_stays_small(tmp_path: Path) -> None:
    asked = parity.run_references([exported(tmp_path / "m.onnx")])
    sizes = {c.name: sum(a.nbytes for a in (*c.inputs.values(), *c.outputs.values())) for c in asked[0].cases}
    room = sizes["batch-1"] + sizes["example"]
    kept = {limit: make_golden("m", asked, tolerance=1e-4, limit=limit).cases for limit in (room, 0)}
    assert [case.name for case in kept[room]] == ["example", "batch-1"]
    assert [case.name for case in kept[0]] == ["batch-1"]


def test_golden_data_keeps_to_the_rows_of_a_batch(tmp_path: Path) -> None:
    asked = parity.run_references([exported(tmp_path / "m.onnx")])
    golden = make_golden("m", asked, tolerance=1e-4, max_rows=2)
    assert [case.name for case in golden.cases] == ["example", "random", "batch-1", "seq-5"]
    assert golden.largest_batch == 2
    assert make_golden("m", asked, tolerance=1e-4).largest_batch == 5


def test_bfloat16_is_kept_as_bits(tmp_path: Path) -> None:
    import ml_dtypes

    values = np.array([[1.5, -2.25]], ml_dtypes.bfloat16)
    case = parity.Case("example", {"x": values}, {"y": values})
    reference = parity.Reference(exported(tmp_path / "m.onnx"), (case,))
    golden = make_golden("m", [reference], tolerance=1e-2)
    golden.save(tmp_path / "g.npz")
    loaded = Golden.load(tmp_path / "g.npz")
    assert set(loaded.bfloat16) == {"serving_default/example/in/x", "serving_default/example/out/y"}
    np.testing.assert_array_equal(loaded.cases[0].inputs["x"].view(ml_dtypes.bfloat16), values)


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
    report = check(one, tmp_path / "wrong", handlers=table)
    assert {row.runtime for row in report.failures} == {SAVED_MODEL}
    assert report.hint is not None
    assert "First differing layer: node 'node_active' (Relu: " in report.hint
    assert "/home/ana/model.py:12 in forward" in report.hint
    assert "output 'active' at [" in report.hint

"""The report of the parity check: the verdict, the error, and plain data for bundle.json."""

from __future__ import annotations

import dataclasses
import json

from bundler.validation.report import ParityReport
from bundler.values.comparison import ONNX_RUNTIME, SAVED_MODEL, Row
from serving.golden.compare import Difference

TOLERANCE = 1e-4


def test_a_report_without_rows_has_not_passed() -> None:
    assert not ParityReport(TOLERANCE, ()).passed


def test_only_gated_rows_decide_the_verdict() -> None:
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


def failing(count: int) -> ParityReport:
    rows = tuple(Row("serving_default", f"batch-{n}", SAVED_MODEL, Difference("y", 1.0, 0.5)) for n in range(count))
    return ParityReport(TOLERANCE, (*rows, Row("serving_default", "random", ONNX_RUNTIME, Difference("y", 1.0, 0.1))))


def test_the_error_names_the_runtimes_and_the_five_worst_outputs() -> None:
    error = failing(7).error()
    first, *lines = error.what.splitlines()
    assert first == "The outputs of saved_model, onnxruntime differ from PyTorch's by more than the tolerance 0.0001."
    assert len(lines) == 6 and lines[-1] == "  … and 3 more"
    assert "--tolerance" in str(error.fix)


def test_the_error_of_a_quantized_model_suggests_a_tolerance() -> None:
    assert "with --tolerance 0.01: the model is quantized" in str(failing(1).error(quantized=True).fix)


def test_the_error_says_if_the_saved_model_was_not_compared() -> None:
    assert ParityReport(TOLERANCE, ()).error().what == "The outputs of saved_model were not compared with PyTorch's."

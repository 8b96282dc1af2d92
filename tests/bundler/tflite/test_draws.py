"""The calls that files are tested with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from bundler.adapters.samples import Sample, SampleFormat
from bundler.errors import UsageError
from bundler.tflite.calibration import Calibration
from bundler.tflite.draws import calibration_calls, run_references
from bundler.tflite.image_inputs import FileInputs
from bundler.values.arrays import Array
from bundler.values.exported import ExportedSignature
from bundler.values.signature import Signature, TensorSpec

SIGNATURE = Signature((TensorSpec("x", "float32", ("batch", 2, 3)),), (TensorSpec("y", "float32", ("batch",)),))
NHWC = FileInputs({"x": (0, 2, 1)})


def exported(*, largest_batch: int = 9) -> ExportedSignature:
    def reference(inputs: Mapping[str, Array]) -> dict[str, Array]:
        if len(inputs["x"]) > largest_batch:
            raise RuntimeError("too large")
        return {"y": inputs["x"].sum((1, 2))}

    return ExportedSignature("serving_default", Path("m.onnx"), SIGNATURE, {"x": np.ones((2, 2, 3), np.float32)}, reference)


def calibration(count: int) -> Calibration:
    samples = tuple(Sample(str(i), {"x": np.full((2, 3), i, np.float32)}) for i in range(count))
    return Calibration("s.npz", "", samples, count, SampleFormat(SIGNATURE, {"x": (1, 2, 3)}))


def test_cases_have_served_inputs_and_pytorchs_outputs() -> None:
    cases = run_references(exported(), {"batch": 1}, None, NHWC)
    assert [case.name for case in cases.cases] == ["example", "random"]
    assert [case.inputs["x"].shape for case in cases.cases] == [(1, 3, 2)] * 2
    assert cases.cases[0].outputs["y"].tolist() == [6]
    assert cases.cases[cases.representative] == cases.cases  # without calibration, all


def test_calibration_samples_represent_real_data_and_four_are_compared() -> None:
    cases = run_references(exported(), {"batch": 1}, calibration(20), FileInputs())
    assert len(cases.cases) == 2 + 16
    assert [case.name for case in cases.compared][2:] == [f"calibration-{i}" for i in range(4)]
    assert {case.name.partition("-")[0] for case in cases.cases[cases.representative]} == {"calibration"}
    calls = list(calibration_calls(exported(), {"batch": 1}, calibration(20), NHWC))
    assert (len(calls), calls[7]["x"].shape, calls[7]["x"].max()) == (20, (1, 3, 2), 7)


def test_error_shows_the_sizes_that_pytorch_rejects() -> None:
    with pytest.raises(UsageError, match=r"PyTorch rejects the sizes of the TFLite files \(x\[3, 2, 3\]\): too large"):
        run_references(exported(largest_batch=2), {"batch": 3}, None, FileInputs())

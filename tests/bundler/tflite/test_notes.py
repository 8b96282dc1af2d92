"""Notes on variants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bundler.adapters.samples import Sample, SampleFormat
from bundler.spec.bundle_spec import TfliteVariant
from bundler.tflite.calibration import Calibration
from bundler.tflite.contents import TfliteOperator
from bundler.tflite.delegation import Delegation
from bundler.tflite.exchange import ConvertedFile
from bundler.tflite.notes import (
    flex_notes,
    leading_notes,
    range_notes,
    rms_notes,
    runtime_notes,
    speed_notes,
    unquantized_notes,
)
from bundler.tflite.runtimes import requirements_of
from bundler.values.exported import ExportedSignature
from bundler.values.signature import Signature, TensorSpec
from tests.bundler.tflite.single_op import single_op


def test_only_large_rms_errors_are_noted() -> None:
    (note,) = rms_notes("int8", {"logits": 0.25, "boxes": 0.1})
    assert note.startswith("output logits: the int8 file differs from PyTorch by 25% (rms)")


def test_flex_operators_are_named_without_their_prefix() -> None:
    delegate, untested = flex_notes([TfliteOperator("FlexErfinv", (), ()), TfliteOperator("ADD", (), ())])
    assert "compute Erfinv (select_tf_ops)" in delegate
    assert untested.startswith("not run and not compared with PyTorch")


def test_calibration_data_in_another_range_than_the_example_is_noted() -> None:
    signature = Signature((TensorSpec("x", "float32", ("batch", 2)), TensorSpec("ids", "int64", ("batch",))), ())
    example = {"x": np.array([[0, 1]], np.float32), "ids": np.array([3])}
    exported = ExportedSignature("serving_default", Path("m.onnx"), signature, example, dict)

    def notes(high: float) -> list[str]:
        sample = Sample("s.npz[0]", {"x": np.array([0, high], np.float32), "ids": np.array(900)})
        sample_format = SampleFormat(signature, {"x": (1, 2), "ids": (1,)})
        return list(range_notes(exported, Calibration("s.npz", "", (sample,), 1, sample_format)))

    assert notes(1.2) == []
    (note,) = notes(255)
    assert "input x: the example ranges from 0 to 1, but the calibration data from 0 to 255" in note


def test_known_fault_of_a_runtime_is_noted() -> None:
    file = single_op("BATCH_MATMUL", 2, "INT8", scales=1)
    (note,) = runtime_notes(requirements_of(file))
    assert note == "known fault of litert 2.0.2 to 2.1.2: BATCH_MATMUL of INT8 computes wrong products"


@pytest.mark.parametrize(
    ("ms", "float_ms", "noted"), [(2.0, 1.0, True), (1.04, 1.0, False), (1.0, 2.0, False), (2.0, None, False)],
    ids=["slower", "as fast", "faster", "not int8"],
)
def test_an_int8_file_that_is_slower_than_float32_is_noted(ms: float, float_ms: float | None, noted: bool) -> None:
    file = ConvertedFile(Path("m.tflite"), {}, {1: ms, 2: 9.0}, float_ms=float_ms)
    notes = list(speed_notes(file, Delegation(4, 3, 2, {"GELU": 1})))
    wanted = "slower than float32 here (2 and 1 ms with one thread); XNNPACK runs 3 of 4 nodes in 2 partitions; not 1 GELU"
    assert notes == [wanted] * noted


@pytest.mark.parametrize(
    ("leading", "noted"),
    [(0, []), (1, ["1 convolution or fully connected layer"]), (14, ["14 convolutions and fully connected layers"])],
)
def test_first_layers_that_stay_float_are_noted(leading: int, noted: list[str]) -> None:
    file = ConvertedFile(Path("m.tflite"), {}, {}, leading=leading)
    assert list(leading_notes(file)) == [f"float for an SQNR of 20.5 dB: the first {layers}" for layers in noted]


@pytest.mark.parametrize(
    ("variant", "types", "noted"),
    [
        ("dynamic", ("FLOAT32", "INT8"), []), ("float16", ("FLOAT16",), []), ("int16x8", ("INT16", "INT8"), []),
        ("float32", ("FLOAT32",), []),
        ("dynamic", ("FLOAT32",), ["weights of fewer than 1,024 values stay float32"]),
        ("float16", ("FLOAT32", "INT64"), ["there are no float32 weights"]),
        ("int8", ("FLOAT32",), ["its operators have no weights, or compute in float only"]),
    ],
)  # fmt: skip
def test_a_variant_that_quantizes_nothing_says_so(variant: TfliteVariant, types: tuple[str, ...], noted: list[str]) -> None:
    operators = [TfliteOperator("GELU", ("FLOAT32",), ("FLOAT32",)), TfliteOperator("ADD", types, ("FLOAT32",))]
    wanted = [f"quantizes nothing: {why}; the file computes as float32 does" for why in noted]
    assert list(unquantized_notes(variant, operators)) == wanted

"""Golden data of an exported model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from bundler.adapters.preprocessing import ImageReader
from bundler.errors import UsageError
from bundler.mobile import ExportOptions, export_mobile
from bundler.spec.signature_spec import ImageSpec
from bundler.tflite.runner import TfliteModel
from bundler.validation.bundle import Bundle
from bundler.values.signature import TensorSpec
from tests.bundler.mobile.models import BGR, COLORS


@pytest.fixture(scope="module")
def prepared(colors: Path) -> np.ndarray:
    """The golden image as calibration prepares it, with Pillow."""
    reader = ImageReader.of_input(TensorSpec.parse("image=float32[1,3,8,10]"), (3, 8, 10), ImageSpec.model_validate(BGR))
    with Image.open(colors / "golden/colors/image.png") as picture:
        return reader.prepare(picture)[np.newaxis]


def test_golden_input_is_what_calibration_prepares(colors: Path, prepared: np.ndarray) -> None:
    golden = np.frombuffer((colors / "golden/colors/float32.image_.bin").read_bytes(), np.float32)
    np.testing.assert_allclose(golden.reshape(prepared.shape), prepared, rtol=1e-6, atol=1e-6)
    file = TfliteModel(colors / "colors-int8-io.tflite")
    dtype = np.dtype(file.inputs[0].dtype)
    integers = np.frombuffer((colors / "golden/colors/int8-io.image_.bin").read_bytes(), dtype)
    off = integers.reshape(prepared.shape).astype(int) - file.scales["image"].quantized(prepared, dtype)
    assert np.abs(off).max() <= 1 and (off != 0).mean() < 0.01  # calibration normalizes in float32


def test_answers_are_those_of_the_model_for_bgr_pixels(colors: Path, prepared: np.ndarray) -> None:
    session = ort.InferenceSession(colors.parent / "colors.onnx", providers=["CPUExecutionProvider"])
    (want,) = session.run(None, {"image": prepared})
    (swapped,) = session.run(None, {"image": prepared[:, ::-1]})
    assert (COLORS[want.argmax()], COLORS[swapped.argmax()]) == ("red", "blue")
    for path in sorted(colors.glob("golden/colors/*.scores.out.bin")):
        variant = path.name.partition(".")[0]
        file = TfliteModel(colors / f"colors-{variant}.tflite")
        scores = np.frombuffer(path.read_bytes(), file.outputs[0].dtype)[np.newaxis]
        got = file.scales["scores"].floats(scores) if file.scales else scores
        np.testing.assert_allclose(got, want, atol=1e-5 if variant == "float32" else 0.03)


def test_equal_contents_are_one_file(colors: Path) -> None:
    contents = [path.read_bytes() for path in (colors / "golden/colors").iterdir()]
    assert len(set(contents)) == len(contents)


@pytest.mark.slow
def test_files_that_take_pixels_answer_as_those_of_the_model_s_values(colors: Path, pixels: Path) -> None:
    """The same image, prepared without a normalization, gives the same scores."""
    golden = np.frombuffer((pixels / "golden/colors/float32.image_.bin").read_bytes(), np.float32)
    np.testing.assert_array_equal(golden, golden.astype(np.uint8))
    assert TfliteModel(pixels / "colors-float32.tflite").inputs[0].dims == (1, 8, 10, 3)
    want, got = (
        np.frombuffer((out / "golden/colors/float32.scores.out.bin").read_bytes(), np.float32) for out in (colors, pixels)
    )
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_normalization_is_refused_for_files_that_take_pixels(pixels: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(pixels.parent / "bundle")
    with pytest.raises(UsageError, match="The files of colors normalize pixels themselves"):
        export_mobile(bundle, tmp_path / "out", ExportOptions(mean=(127.5,)))
    text = (pixels / "README.md").read_text("utf-8")
    assert "pass pixels of 0 to 255 as they are" in text and "channels: RGB" in text
    assert "| colors-float32.tflite | ready | ready |" in text

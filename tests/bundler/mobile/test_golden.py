"""Golden data of an exported model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from bundler.adapters.preprocessing import ImageReader
from bundler.spec.signature_spec import ImageSpec
from bundler.tflite.runner import TfliteModel
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

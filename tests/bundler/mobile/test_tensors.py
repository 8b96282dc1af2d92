"""Preprocessing and quantization that exports hand over."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bundler.adapters.preprocessing import ImageReader
from bundler.mobile.model import Preprocessing
from bundler.mobile.tensors import ImageInput, Tensor, decode, encode, fit, prepare_image, resize, top
from bundler.spec.signature_spec import ImageSpec
from bundler.tflite.runner import Scale
from bundler.values.signature import TensorSpec
from tests.requirements import require

SIDES = st.integers(1, 40)
FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, 3), np.uint8)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FILTERS), SIDES, SIDES, SIDES, SIDES)
def test_resizing_equals_pillows(interpolation: str, height: int, width: int, new_height: int, new_width: int) -> None:
    require(int(Image.__version__.split(".")[0]) >= 13, "Pillow 13, which chooses the order of its passes")
    pixels = noise(height, width)
    want = Image.fromarray(pixels).resize((new_width, new_height), Image.Resampling[interpolation.upper()])
    np.testing.assert_array_equal(resize(pixels, new_height, new_width, interpolation), np.asarray(want))


SPECS = (
    ImageSpec(),
    ImageSpec(channels="bgr", resize=12, crop="center", interpolation="bicubic", mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)),
    ImageSpec(resize=(13, 17), crop="center", interpolation="lanczos", scale=1.0),
    ImageSpec(interpolation="nearest", scale=2 / 255, mean=(1.0,)),
)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("shape", [(3, 8, 10), (8, 10, 3), (8, 10, 1)])
def test_preprocessing_equals_that_of_calibration_images(spec: ImageSpec, shape: tuple[int, int, int]) -> None:
    if shape[-1] == 1 and len(spec.mean) == 3:
        spec = spec.model_copy(update={"mean": spec.mean[:1], "std": spec.std[:1]})
    dims = TensorSpec("x", "float32", (1, *shape))
    reader, declared = ImageReader.of_input(dims, shape, spec), Preprocessing.of(spec)
    channels, height, width = reader.sizes
    image = ImageInput(
        height, width, channels, reader.channels_first, declared.channels,
        declared.resize if declared.crop else None, declared.interpolation, declared.mean, declared.std,
    )  # fmt: skip
    for size in ((31, 20), (15, 40), (8, 10)):
        pixels = noise(*size)
        got = prepare_image(pixels, image, Tensor("x", "float32", dims.shape))
        want = reader.prepare(Image.fromarray(pixels))[np.newaxis]
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)  # calibration normalizes in float32
        assert got.dtype == np.float32 and got.shape == want.shape


def test_unquantized_uint8_takes_pixels() -> None:
    image = ImageInput(4, 4, 3, False)
    pixels = noise(4, 4)
    got = prepare_image(pixels, image, Tensor("x", "uint8", (1, 4, 4, 3)))
    np.testing.assert_array_equal(got[0], pixels)
    with pytest.raises(ValueError, match="an image is uint8"):
        fit(pixels.astype(np.float32), image)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_quantization_equals_that_of_the_gate(dtype: str) -> None:
    tensor = Tensor("x", dtype, (1, 7), 0.0390625, 3)
    values = np.float32([[-1000, -0.05859375, 0, 0.01953125, 0.05859375, 1, 1000]])
    scale = Scale(tensor.scale, tensor.zero_point)
    integers = encode(values, tensor)
    np.testing.assert_array_equal(integers, scale.quantized(values, np.dtype(dtype)))
    np.testing.assert_array_equal(decode(integers, tensor), scale.floats(integers))
    with pytest.raises(ValueError, match=r"x has the shape \[1, 7\], not \[2\]"):
        encode([1.0, 2.0], tensor)


def test_a_scalar_keeps_its_shape() -> None:
    assert encode(2, Tensor("x", "int32", ())).shape == encode(2.0, Tensor("x", "int8", (), 0.5)).shape == ()


def test_best_labels_come_first() -> None:
    assert top(np.float32([[0.5, 2.0, 2.0]]), ("a", "b", "c"), 2) == [("b", 2.0), ("c", 2.0)]

"""Calibration images: size, axis order, scale and colours follow the declared preprocessing."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bundler.adapters.samples import SampleFormat
from bundler.errors import MissingExtraError, SpecError, UsageError
from bundler.sources.torchvision_ops import import_torchvision
from bundler.spec.bundle_spec import parse_spec
from bundler.spec.signature_spec import ImageSpec
from bundler.tflite.calibration import read
from bundler.values.signature import Signature, TensorSpec


def sample_format(declaration: str, *shape: int) -> SampleFormat:
    spec = TensorSpec.parse(declaration)
    return SampleFormat(Signature((spec,), ()), {spec.name: shape})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write nine pictures in class folders, each of one colour: red rises, green is 255, blue is 0."""
    for i in range(9):
        path = tmp_path / "pictures" / ("cats" if i % 2 else "dogs") / f"{i}.{'png' if i else 'bmp'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (i * 28, 255, 0)).save(path)
    (tmp_path / "pictures" / "labels.txt").write_text("no picture")
    return tmp_path


def colours(array: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(row) for row in array.reshape(-1, array.shape[-1]).tolist()}


def test_float_input_with_channels_first_gets_pixels_in_zero_to_one(folder: Path) -> None:
    data = read("pictures", sample_format("x=float32[batch,3,6,8]", 1, 3, 6, 8), base=folder)
    assert data.rule == "images: RGB, channels first, resized to 6x8 (bilinear), scaled to 0..1, no mean or deviation applied"
    assert data.available == 9
    by_name = {sample.where: sample.arrays["x"] for sample in data.samples}
    array = by_name["dogs/2.png"]
    assert (array.shape, array.dtype) == ((3, 6, 8), np.float32)
    (colour,) = colours(np.moveaxis(array, 0, -1))
    assert colour == pytest.approx((56 / 255, 1.0, 0.0), abs=1e-6)


def test_uint8_input_with_channels_last_gets_bytes(folder: Path) -> None:
    data = read("pictures", sample_format("x=uint8[batch,6,8,3]", 1, 6, 8, 3), base=folder)
    assert data.rule == "images: RGB, channels last, resized to 6x8 (bilinear), scaled to 0..255"
    array = {sample.where: sample.arrays["x"] for sample in data.samples}["cats/3.png"]
    assert (array.shape, array.dtype) == ((6, 8, 3), np.uint8)
    assert colours(array) == {(84, 255, 0)}


def test_one_channel_is_grey(folder: Path) -> None:
    data = read("pictures", sample_format("x=float32[batch,1,6,8]", 1, 1, 6, 8), base=folder)
    array = {sample.where: sample.arrays["x"] for sample in data.samples}["cats/1.png"]
    grey = 0.299 * 28 / 255 + 0.587  # ITU-R 601, what Pillow's "L" is
    np.testing.assert_allclose(array, np.full((1, 6, 8), grey), atol=1 / 255)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write eight pictures of 40 by 61 random pixels."""
    folder = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    for i in range(8):
        Image.fromarray(rng.integers(0, 256, (61, 40, 3), np.uint8)).save(folder / f"{i}.png")
    return folder


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
def test_declared_preprocessing_matches_torchvision(noise: Path, interpolation: str) -> None:
    import_torchvision()
    from torchvision import transforms

    options = ImageSpec(resize=33, crop="center", interpolation=interpolation, mean=MEAN, std=STD)
    data = read(".", sample_format("x=float32[batch,3,28,30]", 1, 3, 28, 30), base=noise, images=options)
    mode = transforms.InterpolationMode(interpolation)
    steps = [transforms.Resize(33, mode), transforms.CenterCrop((28, 30)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    want = transforms.Compose(steps)(Image.open(noise / "3.png")).numpy()
    got = data.samples[3].arrays["x"]
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert data.rule == (
        f"images: RGB, channels first, resized to shorter side 33, 28x30 cut from the middle ({interpolation}), "
        f"scaled to 0..1, mean {list(MEAN)}, std {list(STD)}"
    )


def test_resize_of_both_sides_scale_and_bgr(noise: Path) -> None:
    options = ImageSpec(resize=(20, 24), crop="center", channels="bgr", scale=1.0, mean=(103.5, 116.3, 123.7))
    data = read(".", sample_format("x=float32[batch,16,16,3]", 1, 16, 16, 3), base=noise, images=options)
    resized = Image.open(noise / "0.png").resize((24, 20), Image.Resampling.BILINEAR)
    pixels = np.asarray(resized, np.float32)[2:18, 4:20, ::-1]
    np.testing.assert_allclose(data.samples[0].arrays["x"], pixels - np.float32([103.5, 116.3, 123.7]), atol=1e-4)
    assert "BGR, channels last, resized to 20x24, 16x16 cut" in data.rule
    assert "scaled to 0..255, mean [103.5, 116.3, 123.7]" in data.rule


@pytest.mark.parametrize(
    ("options", "spec", "message"),
    [
        ({"mean": (0.5, 0.5)}, "x=float32[batch,3,8,8]", r"images\.mean has 2 numbers, .* 3 channels"),
        ({"std": (0.5,)}, "x=uint8[batch,3,8,8]", "takes unscaled pixels"),
        ({"resize": 7, "crop": "center"}, "x=float32[batch,3,8,8]", "resize 7 is smaller than the crop of 8x8"),
        ({"resize": 16}, "x=float32[batch,3,8,8]", "resize 16 does not match the input's 8x8"),
    ],
)
def test_preprocessing_that_does_not_fit_the_input_is_rejected(
    noise: Path, options: dict[str, Any], spec: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read(".", sample_format(spec, 1, 3, 8, 8), base=noise, images=ImageSpec(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"std": [0.2, 0]}, "std is divided by; 0 is no deviation"),
        ({"crop": "center"}, "crop: center needs resize"),
        ({"channels": "rgba"}, "tflite.images.channels"),
        ({"middle": 0.5}, "tflite.images.middle: unknown key"),
    ],
)
def test_invalid_preprocessing_in_bundle_yaml_is_rejected(options: dict[str, Any], message: str) -> None:
    model = {"name": "m", "source": "m.py:m", "tflite": {"images": options}}
    with pytest.raises(SpecError, match=message):
        parse_spec({"models": [model]}, where="bundle.yaml")


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        ("x=float32[batch,8]", (1, 8), "not an image with 1 or 3 channels"),
        ("x=float32[batch,4,6,8]", (1, 4, 6, 8), "not an image with 1 or 3 channels"),
        ("x=int64[batch,3,6,8]", (1, 3, 6, 8), "does not take float32 or uint8 pixels"),
    ],
)
def test_models_that_take_no_image_are_rejected(folder: Path, spec: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read("pictures", sample_format(spec, *shape), base=folder)


def test_error_names_a_file_that_is_not_an_image(folder: Path) -> None:
    (folder / "pictures" / "cats" / "broken.jpg").write_bytes(b"not a picture")
    with pytest.raises(UsageError, match=r"Calibration sample cats/broken\.jpg is not an image"):
        read("pictures", sample_format("x=float32[batch,3,6,8]", 1, 3, 6, 8), base=folder)


def test_a_folder_without_images_has_too_few_samples(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has 0 samples"):
        read(".", sample_format("x=float32[batch,3,6,8]", 1, 3, 6, 8), base=tmp_path)


def test_error_names_the_extra_if_pillow_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_pillow(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "PIL":
            raise ImportError("No module named 'PIL'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    with pytest.raises(MissingExtraError, match=r"tfbundle\[images\]"):
        read("pictures", sample_format("x=float32[batch,3,6,8]", 1, 3, 6, 8), base=folder)

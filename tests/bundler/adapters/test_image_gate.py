"""The comparison of image signatures with Pillow: right preprocessing passes at every size, wrong preprocessing at none."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import bundler
from bundler.adapters import image
from bundler.adapters.adapter import AdapterCall
from bundler.adapters.image import MAX_BIAS, MAX_MEAN, MAX_WORST, ImageAdapter
from bundler.errors import ParityError
from bundler.spec.signature_spec import ImageInputSpec, ImageSpec
from bundler.values.signature import TensorSpec

MODES = ("nearest", "bilinear", "bicubic", "lanczos")
SIZES = (8, 16, 32, 64, 100, 128, 224, 256)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def adapter(size: int, dtype: str = "float32", **options: Any) -> ImageAdapter:
    spec = TensorSpec("x", dtype, ("batch", 3, size, size))
    return ImageAdapter("photo", [spec], ImageInputSpec(), ImageSpec(**options))


def compare(one: ImageAdapter, rows: int = 3) -> None:
    """Build calls as a build does, which compares the graph with Pillow."""
    inputs = {"x": np.zeros((rows, *one._reader.shape), np.float32)}
    one.calls([AdapterCall("example", inputs, inputs)])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [8, 16, 64, pytest.param(256, marks=pytest.mark.slow)])
def test_right_preprocessing_passes(size: int, mode: str) -> None:
    compare(adapter(size, interpolation=mode, mean=MEAN, std=STD))


@pytest.mark.parametrize("options", [
    {"resize": (16, 16)},
    {"resize": (16, 16), "crop": "center"},
    {"resize": 20, "crop": "center"},
    {"resize": (40, 17), "crop": "center"},
    {"channels": "bgr", "scale": 1.0},
    {"scale": 2 / 255, "mean": (1.0,)},
], ids=str)  # fmt: skip
def test_every_option_passes_at_16_pixels(options: dict[str, Any]) -> None:
    compare(adapter(16, **options), rows=4)


@pytest.mark.parametrize(("dtype", "options"), [("uint8", {}), ("float16", {}), ("float16", {"scale": 1.0})])
def test_every_dtype_of_pixels_passes(dtype: str, options: dict[str, Any]) -> None:
    compare(adapter(16, dtype, **options))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_pixels_stay_well_within_the_bounds_up_and_down(size: int, mode: str) -> None:
    """Each side of the image is a third to three times that of the input, in all combinations."""
    one = adapter(size, interpolation=mode)
    rng = np.random.default_rng(size)
    factors = (0.34, 0.5, 0.9, 1.0, 1.1, 2.0, 3.0)
    for wide, tall in itertools.product(factors, factors):
        shape = (max(1, round(size * tall)), max(1, round(size * wide)), 3)
        picture = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
        file = io.BytesIO()
        picture.save(file, "PNG")
        difference = np.asarray(one._pixels(file.getvalue())).astype(int) - one._reader.pixels(picture)
        assert abs(difference).max() <= MAX_WORST, shape
        assert abs(difference).mean() <= MAX_MEAN / 2, shape
        assert abs(difference.mean()) <= MAX_BIAS / 2, shape


def wrong_mode(monkeypatch: pytest.MonkeyPatch, one: ImageAdapter) -> None:
    kernels = {"bilinear": "keyscubic", "bicubic": "triangle", "lanczos": "lanczos5"}
    monkeypatch.setattr(image, "_KERNELS", kernels)


def no_antialias(monkeypatch: pytest.MonkeyPatch, one: ImageAdapter) -> None:
    import tensorflow as tf

    def stretched(picture: Any, size: Any, kernel: str) -> Any:
        scale = tf.cast(size, tf.float32) / tf.cast(tf.shape(picture)[:2], tf.float32)
        resized = tf.raw_ops.ScaleAndTranslate(
            images=picture[None], size=size, scale=scale, translation=[0.0, 0.0], kernel_type=kernel, antialias=False
        )
        return tf.cast(tf.clip_by_value(tf.floor(resized[0] + 0.5), 0.0, 255.0), tf.uint8)

    monkeypatch.setattr(image, "_stretched", stretched)


def half_pixel_shift(monkeypatch: pytest.MonkeyPatch, one: ImageAdapter) -> None:
    import tensorflow as tf

    def stretched(picture: Any, size: Any, kernel: str) -> Any:
        scale = tf.cast(size, tf.float32) / tf.cast(tf.shape(picture)[:2], tf.float32)
        resized = tf.raw_ops.ScaleAndTranslate(
            images=picture[None], size=size, scale=scale, translation=0.5 * (scale - 1), kernel_type=kernel, antialias=True
        )
        return tf.cast(tf.clip_by_value(tf.floor(resized[0] + 0.5), 0.0, 255.0), tf.uint8)

    monkeypatch.setattr(image, "_stretched", stretched)


def truncation(monkeypatch: pytest.MonkeyPatch, one: ImageAdapter) -> None:
    """Round down in place of to the nearest level: half a level darker in each pass."""
    right = image._stretched

    def stretched(picture: Any, size: Any, kernel: str) -> Any:
        import tensorflow as tf

        monkeypatch.setattr(tf, "floor", lambda x: tf.math.floor(x - 0.5))
        try:
            return right(picture, size, kernel)
        finally:
            monkeypatch.setattr(tf, "floor", tf.math.floor)

    monkeypatch.setattr(image, "_stretched", stretched)


def swapped_channels(monkeypatch: pytest.MonkeyPatch, one: ImageAdapter) -> None:
    right = one._scaled
    monkeypatch.setattr(one, "_scaled", lambda pixels: right(pixels[..., ::-1]))


def wrong_normalization(monkeypatch: pytest.MonkeyPatch, one: ImageAdapter) -> None:
    right = one._scaled
    monkeypatch.setattr(one, "_scaled", lambda pixels: right(pixels) + 0.02)


def wrong_layout(monkeypatch: pytest.MonkeyPatch, one: ImageAdapter) -> None:
    import tensorflow as tf

    right = one._scaled
    monkeypatch.setattr(one, "_scaled", lambda pixels: tf.transpose(right(pixels), [0, 1, 3, 2]))


Fault = Callable[[pytest.MonkeyPatch, ImageAdapter], None]
FAULTS = (wrong_mode, no_antialias, half_pixel_shift, truncation, swapped_channels, wrong_normalization, wrong_layout)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("size", [8, 16, pytest.param(128, marks=pytest.mark.slow)])
def test_wrong_preprocessing_fails(size: int, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    one = adapter(size, mean=MEAN, std=STD)
    fault(monkeypatch, one)
    with pytest.raises(ParityError, match=r"differ from Pillow's by up to .* levels of 255, .* rounding explains at most 2, 0.5"):
        compare(one, rows=1)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("fault", FAULTS[:4], ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("size", SIZES[:6])
def test_a_wrong_resize_fails_with_every_filter(
    size: int, fault: Fault, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = adapter(size, interpolation=mode)
    fault(monkeypatch, one)
    with pytest.raises(ParityError):
        compare(one, rows=1)


def test_the_pass_that_pillow_begins_with_depends_on_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pillow before 13 would begin with the width here, so the graph for it differs from what the installed one does."""
    import PIL

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 100, 3), np.uint8))
    halfway = [picture.resize(size, Image.Resampling.LANCZOS) for size in ((64, 150), (100, 64))]
    by_width, by_height = (np.asarray(p.resize((64, 64), Image.Resampling.LANCZOS)).astype(int) for p in halfway)
    assert abs(by_width - by_height).max() > 2
    for version, want in (("12.3.0", by_width), ("13.0.0", by_height)):
        monkeypatch.setattr(PIL, "__version__", version)
        got = np.asarray(image._resized(np.asarray(picture), 64, 64, "lanczos")).astype(int)
        assert abs(got - want).max() <= 1


class Small(nn.Module):
    """A network for images of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).relu().mean((2, 3))


@pytest.mark.sample(2)
@pytest.mark.parametrize(("size", "preprocess"), [(16, {"resize": [16, 16]}), (64, {})])
def test_a_model_of_small_images_is_built_and_verified(size: int, preprocess: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    signatures = {"photo": {"image": {"preprocess": preprocess}}}
    bundle = bundler.build(Small().eval(), torch.rand(2, 3, size, size), tmp_path / "b", name="net", signatures=signatures)
    assert bundle.verify() == []
    assert set(bundle.record("net")["signatures"]) == {"serving_default", "photo"}

"""Signatures that take image files: pixels compared with Pillow's, and predictions over gRPC and REST."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

import bundler
from bundler.adapters.image import MAX_WORST, ImageAdapter, _Deviation
from bundler.adapters.preprocessing import ImageReader
from bundler.errors import SpecError, UsageError
from bundler.spec.bundle_spec import parse_spec
from bundler.spec.signature_spec import ImageInputSpec, ImageSpec
from bundler.validation.bundle import Bundle
from bundler.values.signature import TensorSpec
from serving import Client, RequestError
from tests.bundler.adapters.networks import clients, passed_requests, smoke

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPROCESS = {"resize": 72, "crop": "center", "mean": MEAN, "std": STD}


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


@cache
def files() -> dict[str, bytes]:
    """Two photographs, 427 x 640, as JPEG with and without subsampled chroma and as PNG of several modes."""
    out = {}
    for name, array in zip(("china", "flower"), load_sample_images().images, strict=True):
        picture = Image.fromarray(array)
        out[f"{name}-75.jpg"] = encoded(picture, "JPEG", quality=75)
        out[f"{name}-444.jpg"] = encoded(picture, "JPEG", quality=95, subsampling=0)
        out[f"{name}-progressive.jpg"] = encoded(picture, "JPEG", quality=85, progressive=True)
        out[f"{name}.png"] = encoded(picture, "PNG")
        out[f"{name}-grey.png"] = encoded(picture.convert("L"), "PNG")
        out[f"{name}-palette.png"] = encoded(picture.quantize(64), "PNG")
        out[f"{name}-alpha.png"] = encoded(picture.convert("RGBA"), "PNG")
    return out


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    "options",
    [
        ImageSpec(),
        ImageSpec(resize=256, crop="center", **{k: PREPROCESS[k] for k in ("mean", "std")}),
        ImageSpec(resize=(301, 240), crop="center", interpolation="bicubic", channels="bgr"),
        ImageSpec(interpolation="lanczos", scale=1.0),
        ImageSpec(interpolation="nearest"),
        ImageSpec(resize=250, crop="center", interpolation="nearest"),
    ],
    ids=str,
)
@pytest.mark.parametrize("dims", [("batch", 3, 224, 224), ("batch", 224, 217, 1)], ids=str)
def test_pixels_match_pillow(options: ImageSpec, dims: tuple[Any, ...]) -> None:
    """Pixels differ by at most 2 levels of 255, and at most 2 % of them differ; nearest and decoding are exact."""
    if options.mean and 1 in dims:
        options = ImageSpec(resize=options.resize, crop=options.crop)
    spec = TensorSpec("x", "float32", dims)
    adapter = ImageAdapter("s", (spec,), ImageInputSpec(), options)
    reader = ImageReader.of_input(spec, dims[1:], options)
    images = files()
    got = adapter({"image_bytes": np.array(list(images.values()), object)})["x"].numpy()
    level = options.scale / min(options.std or (1.0,))
    for row, (name, data) in enumerate(images.items()):
        expected = reader.prepare(Image.open(io.BytesIO(data)))
        assert (got[row].dtype, got[row].shape) == (expected.dtype, expected.shape)
        difference = np.abs(got[row] - expected) / level
        assert difference.max() <= (0.001 if options.interpolation == "nearest" else 2.001), name
        assert np.mean(difference > 0.001) <= 0.02, name


class Sight(nn.Module):
    """Maps images, float32 [batch, 3, 64, 64], to logits, float32 [batch, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 3))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"logits": self.layers(image)}


def sight() -> Sight:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Sight().eval()


SIGNATURES = {
    "photo": {"image": {}},
    "named": {"image": {}, "classify": {"softmax": True, "top_k": 1}},
    "record": {"image": {}, "classify": {}, "examples": {"features": {"image_bytes": "image/encoded=string[]"}}},
}


@pytest.fixture(scope="module", params=["keep", pytest.param("nhwc", marks=pytest.mark.slow)])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("sight") / "dist"
    options = {"labels": ("a", "b", "c"), "signatures": SIGNATURES, "images": PREPROCESS, "layout": request.param}
    return bundler.build(sight(), torch.randn(2, 3, 64, 64), out, name="sight", **options)


@pytest.fixture(scope="module")
def both_clients(bundle: Bundle) -> Iterator[tuple[Client, Client]]:
    with clients(bundle) as pair:
        yield pair


def expected_logits(names: list[str]) -> np.ndarray[Any, Any]:
    """Preprocess the files with Pillow and torch, and return PyTorch's logits."""
    rows = []
    for name in names:
        picture = Image.open(io.BytesIO(files()[name]))
        width, height = (72 * side // min(picture.size) for side in picture.size)
        resized = picture.resize((width, height), Image.Resampling.BILINEAR)
        left, top = round((width - 64) / 2), round((height - 64) / 2)
        pixels = torch.from_numpy(np.array(resized.crop((left, top, left + 64, top + 64)))).permute(2, 0, 1) / 255
        rows.append((pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])
    with torch.no_grad():
        return sight()(torch.stack(rows))["logits"].numpy()


def test_photographs_get_pytorchs_logits(both_clients: tuple[Client, Client]) -> None:
    names = ["china-75.jpg", "flower.png"]
    images = np.array([files()[name] for name in names], object)
    for client in both_clients:
        got = client.predict("sight", {"image_bytes": images}, signature="photo")["logits"]
        np.testing.assert_allclose(got, expected_logits(names), atol=2e-3)


def test_classify_returns_the_best_class(both_clients: tuple[Client, Client]) -> None:
    names = ["flower-444.jpg", "china.png"]
    best = ["abc"[i] for i in expected_logits(names).argmax(1)]
    images = np.array([files()[name] for name in names], object)
    for client in both_clients:
        got = client.predict("sight", {"image_bytes": images}, signature="named")
        assert [[label.decode() for label in row] for row in got["classes"]] == [[label] for label in best]
        rows = client.classify("sight", [{"image/encoded": data} for data in images], signature="record")
        assert [max(row, key=lambda pair: pair[1])[0] for row in rows] == best


def test_data_that_is_not_an_image_is_rejected(both_clients: tuple[Client, Client]) -> None:
    for client in both_clients:
        with pytest.raises(RequestError, match=r"Unknown image file format") as info:
            client.predict("sight", {"image_bytes": np.array([b"GARBAGE"], object)}, signature="photo")
        assert info.value.status == "INVALID_ARGUMENT"


@pytest.mark.slow
def test_smoke_and_verify_pass(bundle: Bundle) -> None:
    report = smoke(bundle)
    assert {"gRPC predict", "REST predict"} <= passed_requests(report, "photo") & passed_requests(report, "named")
    assert {"gRPC classify", "REST classify"} <= passed_requests(report, "record")
    assert bundle.verify() == []


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"input": "picture"}, "names 'picture', which is not an input"),
        ({"preprocess": {"resize": 32, "crop": "center"}}, "resize 32 is smaller than the crop of 64x64"),
        ({"preprocess": {"mean": [0.5, 0.5]}}, "mean has 2 numbers"),
    ],
)
def test_spec_that_does_not_fit_the_model_is_rejected(image: dict[str, Any], message: str, tmp_path: Path) -> None:
    signatures = {"photo": {"image": image}}
    with pytest.raises(UsageError, match=message):
        bundler.build(sight(), torch.randn(2, 3, 64, 64), tmp_path / "d", name="sight", signatures=signatures)


@pytest.mark.parametrize(("levels", "passes"), [(2, True), (3, False)])
def test_two_levels_are_rounding_whatever_the_mean_is(levels: int, passes: bool) -> None:
    """The normalization in float32 turns exactly two levels into 2.00001."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    dims = (3, 16, 17)
    reader = ImageReader.of_input(TensorSpec("x", "float32", ("batch", *dims)), dims, ImageSpec(mean=mean, std=std))
    level = np.resize(np.arange(256 - levels, dtype=np.float32), dims)
    want, got = (
        (pixels * np.float32(1 / 255) - np.float32(mean).reshape(3, 1, 1)) / np.float32(std).reshape(3, 1, 1)
        for pixels in (level, level + levels * (level % 11 == 0))
    )
    deviation = _Deviation.of(got, want, reader)
    assert (deviation.worst <= MAX_WORST) is passes


def test_input_name_must_end_with_bytes() -> None:
    model = {"name": "m", "source": "m.py:make", "signatures": {"s": {"image": {"name": "picture"}}}}
    with pytest.raises(SpecError, match=r"image.name: 'picture' does not match the pattern .*_bytes"):
        parse_spec({"models": [model]}, where="bundle.yaml")

"""A real network trained on real digits keeps its accuracy in every variant, including int8."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from bundler.converters.native import NativeConverter
from bundler.export.stage import export
from bundler.sources.module import from_module
from bundler.spec.bundle_spec import ModelSpec, TfliteSpec
from bundler.tflite import VariantResult, build_variants
from bundler.tflite.runner import TfliteModel
from bundler.validation import parity
from bundler.values.exported import ExportedSignature
from tests.models import load_example, seeded

pytestmark = pytest.mark.slow  # trains a network and makes every variant of it

VARIANTS = ("float32", "float16", "dynamic", "int8")


@dataclass(frozen=True)
class Digits:
    """The trained network with its variants, and the test images."""

    exported: ExportedSignature
    variants: dict[str, VariantResult]
    saved_model: Path
    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def accuracy(self, variant: str) -> float:
        model = TfliteModel(self.variants[variant].path)
        (output,) = self.exported.signature.output_names
        classes = [model({"image": image[None]})[output].argmax() for image in self.images]
        return float(np.mean(np.array(classes) == self.labels))


def train(images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> nn.Module:
    """Train for a few epochs, which takes seconds."""
    with seeded():
        model, _ = load_example("digits_cnn").digits_cnn()
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        x, y = torch.from_numpy(images), torch.from_numpy(labels)
        model.train()
        for _ in range(6):
            for batch in torch.randperm(len(x)).split(64):
                optimizer.zero_grad()
                functional.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    folder = tmp_path_factory.mktemp("digits")
    data = load_digits()
    images = (data.images[:, None] / 16).astype(np.float32)
    labels = data.target.astype(np.int64)
    model = train(images[:1400], labels[:1400])
    np.savez(folder / "calibration.npz", image=images[:200])

    loaded = from_module(
        model, examples={"image": torch.from_numpy(images[:2])}, inputs=(), provenance={"source": "test"}
    )
    (exported,) = export(loaded, ModelSpec(name="digits", source="test.py:digits"), folder)
    converted = NativeConverter().convert({exported.name: exported.onnx})
    converted.save(folder / "1")
    spec = TfliteSpec(variants=VARIANTS, calibration="calibration.npz")
    variants = build_variants(converted, exported, spec, folder, "digits", base=folder)
    return Digits(exported, {v.variant: v for v in variants}, folder / "1", images[1400:], labels[1400:])


def test_every_variant_has_pytorchs_accuracy(digits: Digits) -> None:
    (logits,) = digits.exported.reference({"image": digits.images}).values()
    expected = float(np.mean(logits.argmax(1) == digits.labels))
    assert expected > 0.9
    assert digits.accuracy("float32") == expected
    for variant in ("float16", "dynamic", "int8"):
        assert abs(digits.accuracy(variant) - expected) <= 0.01, variant


def test_int8_has_no_float_operators_and_is_a_third_of_the_size(digits: Digits) -> None:
    int8, float32 = digits.variants["int8"], digits.variants["float32"]
    assert not int8.float_operators
    assert int8.operators["CONV_2D"] == 3
    assert int8.size_bytes < float32.size_bytes / 3
    assert digits.variants["dynamic"].size_bytes < float32.size_bytes / 3
    assert digits.variants["float16"].size_bytes < float32.size_bytes * 0.6
    assert 1e-4 < digits.variants["int8"].max_rel < 0.2


def test_parity_of_the_build_passes(digits: Digits) -> None:
    references = parity.run_references([digits.exported])
    report = parity.check(references, digits.saved_model, tolerance=1e-4, variants=list(digits.variants.values()))
    assert report.passed, report.error()
    assert {line.verdict for line in report.summary()} == {"passed", "reported"}

"""The demo's first model: a small convolutional network, trained in seconds on scikit-learn's images of handwritten digits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from bundler.errors import MissingExtraError
from bundler.values.arrays import Array
from serving.lazy import once

if TYPE_CHECKING:
    from bundler.pipeline import BuiltModel
    from bundler.tflite.evaluate import Predict


EPOCHS = 12
BATCH = 64
HELD_OUT = 4
"""One in this many images is held out for evaluation."""


def _block(channels_in: int, channels_out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.BatchNorm2d(channels_out), nn.ReLU()


class DigitsCnn(nn.Module):
    """Maps grey images, float32 [batch, 1, 8, 8] in 0..1, to logits, float32 [batch, 10].

    examples/digits_cnn.py has the same network, so that users can read and copy the example without tfbundle's sources.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(1, 16), *_block(16, 32), nn.MaxPool2d(2), *_block(32, 64), nn.MaxPool2d(2)
        )
        self.classifier = nn.Linear(64 * 2 * 2, 10)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits by output name."""
        return {"logits": self.classifier(self.features(image).flatten(1))}


@dataclass(frozen=True)
class Digits:
    """Images, float32 [n, 1, 8, 8] in 0..1, and their labels, int64 [n], for training and for testing."""

    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array


@once
def digits() -> Digits:
    """Return scikit-learn's 1,797 scanned digits, a quarter of them held out for testing.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as exc:
        raise MissingExtraError("scikit-learn", "demo", purpose="The demo") from exc
    data = load_digits()
    images = (data.images[:, None] / 16).astype(np.float32)
    labels = data.target.astype(np.int64)
    held_out = np.arange(len(labels)) % HELD_OUT == 0
    return Digits(images[~held_out], labels[~held_out], images[held_out], labels[held_out])


def train(epochs: int = EPOCHS) -> tuple[DigitsCnn, Tensor]:
    """Train a network on the digits; the result is the same every time on one machine.

    Args:
        epochs: The number of passes over the training images.

    Returns:
        The network in eval mode, and two example images.
    """
    data = digits()
    images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    order = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DigitsCnn()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    model.train()
    with one_thread():
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(len(labels), generator=order), BATCH):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(images[rows])["logits"], labels[rows])
                torch.autograd.backward(loss)
                optimizer.step()
            schedule.step()
    return model.eval(), images[:2]


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit PyTorch to one thread: with layers this small, more threads make training slower, and much slower under load."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def calibration() -> Iterator[dict[str, Array]]:
    """Yield training images as calibration samples for the int8 and int16x8 variants."""
    for image in digits().train_images[:200]:
        yield {"image": image}


def accuracy(predict: Predict) -> float:
    """Return the share of correct answers on the held-out images; this is the gate for the TFLite variants."""
    data = digits()
    return _accuracy(predict(image=data.test_images)["logits"], data.test_labels)


def evaluate(built: BuiltModel) -> dict[str, Any]:
    """Measure the accuracy of PyTorch, the SavedModel and each TFLite file on the held-out images."""
    from bundler.saved_model.runner import SavedModel

    data = digits()
    served = SavedModel(built.saved_model)
    runs: dict[str, Callable[[Array], Mapping[str, Array]]] = {
        "pytorch": lambda images: built.reference({"image": images}),
        "saved_model": lambda images: served("serving_default", {"image": images}),
        **{name: _one_by_one(path) for name, path in built.tflite.items()},
    }
    results = {
        name: _accuracy(run(data.test_images)["logits"], data.test_labels) for name, run in runs.items()
    }
    return {
        "metric": "accuracy",
        "data": "scikit-learn digits, held out",
        "samples": len(data.test_labels),
        "results": results,
    }


def _one_by_one(path: Path) -> Callable[[Array], dict[str, Array]]:
    """Return a function that runs a TFLite file on images one by one, because the file takes one image per call."""
    from bundler.tflite.runner import TfliteModel

    model = TfliteModel(path)

    def run(images: Array) -> dict[str, Array]:
        return {"logits": np.concatenate([model.run_in_floats({"image": image[None]})["logits"] for image in images])}

    return run


def _accuracy(logits: Array, labels: Array) -> float:
    return round(float(np.mean(logits.argmax(axis=1) == labels)), 4)

"""A trained encoder whose attention has to respect its mask, in int8.

Each row has one marked token among those that count, and marked decoys among those that the mask hides. The label is what the
mark stands on, so an encoder that ignores its mask, or whose attention sees one value only, cannot know it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bundler.tflite.int8 import Int8
from bundler.tflite.observed import observed
from bundler.tflite.quantize import quantize
from bundler.tflite.runner import TfliteModel
from bundler.values.arrays import Array
from bundler.values.converted import SERVING_DEFAULT
from tests.bundler.tflite.calibrated import calibrated

STEPS, CLASSES, WIDTH, LAYERS, ROWS = 10, 6, 32, 1, 256
MARK, READER = CLASSES, 2 * CLASSES
"""What is added to a marked token, and the token at the beginning, from which the answer is read."""


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(READER + 1, WIDTH)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, 0.0, "gelu", batch_first=True) for _ in range(LAYERS)
        )
        self.classifier = nn.Linear(WIDTH, CLASSES)

    def forward(self, ids: Tensor, keep: Tensor) -> Tensor:
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=keep == 0)
        return self.classifier(x[:, 0])


def data(rows: int, seed: int) -> tuple[Array, Array, Array]:
    """Return ids and masks, int32 [rows, STEPS], and labels [rows]."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, CLASSES, (rows, STEPS), np.int32)
    lengths = rng.integers(3, STEPS + 1, rows)
    marked = rng.integers(1, lengths)
    places = np.arange(STEPS)
    hidden = places >= lengths[:, None]
    labels = ids[np.arange(rows), marked].astype(np.int64)
    ids += MARK * ((places == marked[:, None]) | (hidden & (rng.random(ids.shape) < 0.5))).astype(np.int32)
    ids[:, 0] = READER
    return ids, (~hidden).astype(np.int32), labels


@cache
def trained() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Encoder()
    ids, keep, labels = map(torch.from_numpy, data(8192, 1))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for rows in torch.arange(8192).repeat(2).split(256):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(ids[rows], keep[rows]), labels[rows]).backward()
        optimizer.step()
    return model.eval()


def accuracy(file: bytes, work: Path) -> float:
    path = work / "encoder.tflite"
    path.write_bytes(file)
    model = TfliteModel(path)
    ids, keep, labels = data(ROWS, 2)
    right = [
        next(iter(model({"ids": i[None], "keep": k[None]}).values())).argmax() for i, k in zip(ids, keep, strict=True)
    ]
    return float(np.mean(np.array(right) == labels))


def calls(rows: int, seed: int) -> list[dict[str, Array]]:
    ids, keep, _ = data(rows, seed)
    return [{"ids": i[None], "keep": k[None]} for i, k in zip(ids, keep, strict=True)]


@pytest.mark.slow
def test_a_masked_encoder_answers_labelled_data_as_in_pytorch(tmp_path: Path) -> None:
    model = trained()
    ids, keep, labels = data(ROWS, 2)
    with torch.no_grad():
        right = float((model(*map(torch.from_numpy, (ids, keep))).argmax(1).numpy() == labels).mean())
        unmasked = float((model(torch.from_numpy(ids), torch.ones(ids.shape)).argmax(1).numpy() == labels).mean())
    assert right > 0.97 > 0.8 > unmasked, "the task needs the mask"
    plain = calibrated(model, calls(100, 3), tmp_path)
    int8 = Int8(plain, (SERVING_DEFAULT,), lambda _: calls(100, 3), tmp_path / "scratch.tflite")
    assert int8.clipped.masked
    for file in (int8.file(), quantize(int8.clipped.file)):
        assert accuracy(file, tmp_path) >= right - 0.01
        attention = [
            values
            for name, values in observed(file, calls(8, 2)).items()
            if "oftmax" in name and values.dtype.kind == "f"
        ]
        assert attention
        assert max(len(np.unique(values)) for values in attention) > 50
    assert accuracy(quantize(plain), tmp_path) < 0.8, "with TensorFlow's ranges, attention is off"

"""Attention with the masks that models have, calibration data for it, and its int8 files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bundler.tflite.clipping import Clipped, clip
from bundler.tflite.mix import decibels
from bundler.tflite.runner import TfliteModel
from bundler.tflite.sensitivity import noise_to_signal
from bundler.values.arrays import Array
from bundler.values.converted import SERVING_DEFAULT
from tests.bundler.tflite.calibrated import calibrated

WIDTH, STEPS, ROWS = 8, 6, 16


def filled(scores: Tensor, keep: Tensor) -> Tensor:
    return scores.masked_fill(keep[:, None, :] == 0, torch.finfo(torch.float32).min)


def infinite(scores: Tensor, keep: Tensor) -> Tensor:
    return scores.masked_fill(keep[:, None, :] == 0, float("-inf"))


def added(scores: Tensor, keep: Tensor) -> Tensor:
    return scores + (1 - keep[:, None, :].float()) * -1e9


def small(scores: Tensor, keep: Tensor) -> Tensor:
    return scores + (1 - keep[:, None, :].float()) * -1e4


def causal(scores: Tensor, keep: Tensor) -> Tensor:
    return scores + torch.full((STEPS, STEPS), float("-inf")).triu(1) + keep.sum() * 0


MASKS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (filled, infinite, added, small, causal)


class Masked(nn.Module):
    def __init__(self, mask: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self._mask = mask

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        scores = 4 * self.q(x) @ self.k(x).transpose(1, 2) / WIDTH**0.5
        return torch.softmax(self._mask(scores, keep), -1) @ self.v(x)


def calls(count: int = ROWS) -> list[dict[str, Array]]:
    """Return inputs of batch 1; every second one has two steps that do not count."""
    rng = np.random.default_rng(0)
    keep = np.ones((count, 1, STEPS), np.int32)
    keep[::2, :, 4:] = 0
    return [{"x": rng.standard_normal((1, STEPS, WIDTH), np.float32), "keep": row} for row in keep]


@dataclass(frozen=True)
class Quantizable:
    """A module as a float file with ranges, and what PyTorch answers."""

    clipped: Clipped
    want: list[Array]

    @classmethod
    def of(cls, module: nn.Module, work: Path, *, clips: bool = True) -> Quantizable:
        """Export, convert and calibrate a module; without `clips`, the ranges are those that TensorFlow calibrates."""
        file = calibrated(module, calls(), work)
        with torch.no_grad():
            want = [module(*map(torch.from_numpy, call.values())).numpy() for call in calls()]
        return cls(clip(file, {SERVING_DEFAULT: calls()}) if clips else Clipped(file, frozenset()), want)

    def sqnr_db(self, file: bytes, work: Path) -> float:
        """Return the signal-to-noise ratio of a file's answers, in decibels."""
        path = work / "masked.tflite"
        path.write_bytes(file)
        model = TfliteModel(path)
        got = [next(iter(model.run_in_floats(call).values())) for call in calls()]
        return decibels(noise_to_signal(np.stack(self.want), np.stack(got)))

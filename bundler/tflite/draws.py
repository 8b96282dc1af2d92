"""The calls that every .tflite file of a model answers, and PyTorch's answers to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from bundler.errors import TfbundleError, UsageError
from bundler.values import input_draws
from bundler.values.arrays import Array
from bundler.values.reference import REFUSALS, to_served

if TYPE_CHECKING:
    from bundler.tflite.calibration import Calibration
    from bundler.values.exported import ExportedSignature


COMPARED = 4
"""So many calibration calls are compared element by element, beside the example and a random draw."""
AGREEING = 16
"""Over so many calibration calls the agreement with PyTorch is measured."""
_CALIBRATION = "calibration-"


@dataclass(frozen=True)
class AnsweredDraw:
    """Inputs as served, and PyTorch's answer."""

    name: str
    served: dict[str, Array]
    answer: dict[str, Array]


@dataclass(frozen=True)
class AnsweredDraws:
    """The calls of one signature of the files."""

    every: tuple[AnsweredDraw, ...]

    @property
    def compared(self) -> Sequence[AnsweredDraw]:
        return self.every[: 2 + COMPARED]

    @property
    def real(self) -> slice:
        """Those that stand for what the model will see: calibration samples, where there are any."""
        return slice(2 if any(draw.name.startswith(_CALIBRATION) for draw in self.every) else 0, None)


def asked(
    exported: ExportedSignature,
    sizes: Mapping[str, int],
    samples: Calibration | None,
    permutations: Mapping[str, Sequence[int]],
) -> AnsweredDraws:
    """The example brought to the file's sizes, a random draw, and the first calibration samples, with PyTorch's answers.

    Raises:
        UsageError: PyTorch refuses these sizes.
    """
    signature, examples = exported.signature, exported.examples
    calls: list[tuple[str, dict[str, Array]]] = [
        ("example", input_draws.fit(signature, examples, sizes)),
        ("random", input_draws.resample(signature, examples, sizes, np.random.default_rng(0))),
    ]
    calls += [(f"{_CALIBRATION}{i}", call) for i, call in enumerate(_fitted(exported, sizes, samples, AGREEING))]
    return AnsweredDraws(tuple(_asked(exported, name, call, permutations) for name, call in calls))


def calibration_calls(
    exported: ExportedSignature,
    sizes: Mapping[str, int],
    samples: Calibration,
    permutations: Mapping[str, Sequence[int]],
) -> Iterator[dict[str, Array]]:
    """All samples as served, brought to the sizes of a signature."""
    for call in _fitted(exported, sizes, samples, None):
        yield to_served(call, permutations)


def _fitted(
    exported: ExportedSignature, sizes: Mapping[str, int], samples: Calibration | None, limit: int | None
) -> Iterator[dict[str, Array]]:
    for call in islice(samples.calls(), limit) if samples else ():
        yield input_draws.fit(exported.signature, call, sizes)


def _asked(
    exported: ExportedSignature, name: str, call: dict[str, Array], permutations: Mapping[str, Sequence[int]]
) -> AnsweredDraw:
    try:
        answer = exported.reference(call)
    except REFUSALS as exc:
        if isinstance(exc, TfbundleError):
            raise
        shapes = ", ".join(f"{name}{list(array.shape)}" for name, array in call.items())
        raise UsageError(
            f"PyTorch refuses the sizes of the TFLite files ({shapes}): {exc}",
            fix="set tflite.batch and tflite.dims in bundle.yaml to sizes that the model takes",
        ) from exc
    return AnsweredDraw(name, to_served(call, permutations), answer)

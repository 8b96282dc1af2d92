"""What single layers lose by int8: the noise they alone bring to the model's outputs.

A layer's own output says little: where one channel is a thousand times larger than the others, its noise is small
against the whole, and the others are gone all the same. So each group of layers is quantized with all others left
float, and the model's outputs are compared with the float file's, over the first calibration calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from bundler.tflite import quantize
from bundler.tflite.recurrent import start_from_zero
from bundler.tflite.runner import TfliteModel
from bundler.values.arrays import Array
from bundler.values.converted import SERVING_DEFAULT

CALLS = 4


class Sensitivity:
    """Measures groups of layers of one calibrated file.

    Args:
        calls: inputs by name; the first 4 are used.
        scratch: where files may be written; nobody else's.
    """

    def __init__(self, calibrated: bytes, calls: Iterable[Mapping[str, Array]], scratch: Path) -> None:
        self._calibrated = calibrated
        self._calls = list(islice(calls, CALLS))
        self._scratch = scratch
        self._all = frozenset(layer.tensor for layer in quantize.layers(calibrated))
        self._float = self._answers(start_from_zero(calibrated))

    def loss(self, group: Collection[str]) -> float:
        """Noise to signal (energies) of the output that loses most when only these layers are int8.

        Integer outputs count by the share of values that change, and only where no output is float.

        Raises:
            TfliteError: the quantizer or the interpreter stopped.
        """
        answers = self._answers(quantize.quantize(self._calibrated, self._all - set(group)))
        floats = [name for name, arrays in self._float.items() if arrays[0].dtype.kind == "f"]
        measure = noise_to_signal if floats else _changed
        return max(_over_calls(measure, self._float[name], answers[name]) for name in floats or self._float)

    def _answers(self, file: bytes) -> dict[str, list[Array]]:
        self._scratch.write_bytes(file)
        model = TfliteModel(self._scratch, signature=SERVING_DEFAULT)
        found = [model.in_floats(call) for call in self._calls]
        return {name: [outputs[name] for outputs in found] for name in found[0]}


def _over_calls(measure: Callable[[Array, Array], float], want: Sequence[Array], got: Sequence[Array]) -> float:
    """Infinite where the sizes, which may depend on the data, are other ones."""
    if any(w.shape != g.shape for w, g in zip(want, got, strict=True)):
        return float("inf")
    return measure(np.concatenate([w.ravel() for w in want]), np.concatenate([g.ravel() for g in got]))


def _changed(want: Array, got: Array) -> float:
    return float(np.mean(want != got)) if want.size else 0.0


def noise_to_signal(want: Array, got: Array) -> float:
    """Energy of the error by that of the exact values, where these are finite; infinite where the answer is not."""
    finite = np.isfinite(want)
    exact = want[finite].astype(np.float64)
    noise, signal = float(np.square(got[finite] - exact).sum()), float(np.square(exact).sum())
    if not np.isfinite(noise):
        return float("inf")
    return noise / signal if signal else noise

"""The loss of single layers in int8: the noise that each adds to the model's outputs as the only int8 layer.

A layer's own output would be misleading: if one channel is a thousand times larger than the others, its quantization noise is
small compared with the whole output but wipes out the other channels. Therefore each group of layers is quantized with all
others in float, and the model's outputs are compared with the float file's, over the first calibration calls.
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
"""Number of calibration calls that are used."""


class Sensitivity:
    """Measures groups of layers of one calibrated file.

    Args:
        calibrated: content of the float file with ranges.
        calls: inputs by name; the first `CALLS` are used.
        scratch: a path for temporary .tflite files, not used by anything else.
    """

    def __init__(self, calibrated: bytes, calls: Iterable[Mapping[str, Array]], scratch: Path) -> None:
        self._calibrated = calibrated
        self._calls = list(islice(calls, CALLS))
        self._scratch = scratch
        self._all = frozenset(layer.tensor for layer in quantize.layers(calibrated))
        self._float_outputs = self._outputs(start_from_zero(calibrated))

    def loss(self, group: Collection[str]) -> float:
        """Return the noise-to-signal ratio (of energies) of the output that loses most when only these layers are int8.

        If no output is float, the loss of an integer output is the share of values that change.

        Raises:
            TfliteError: the quantizer or the interpreter fails.
        """
        return self.loss_beside(self._all - set(group))

    def loss_beside(self, float_layers: Collection[str]) -> float:
        """Return the loss as `loss` does, with all layers but these in int8."""
        outputs = self._outputs(quantize.quantize(self._calibrated, float_layers))
        measure = noise_to_signal if self.float_outputs else _changed_share
        names = self.float_outputs or tuple(self._float_outputs)
        return max(_over_calls(measure, self._float_outputs[name], outputs[name]) for name in names)

    @property
    def float_outputs(self) -> tuple[str, ...]:
        """Names of the outputs that are float."""
        return tuple(name for name, arrays in self._float_outputs.items() if arrays[0].dtype.kind == "f")

    def _outputs(self, file: bytes) -> dict[str, list[Array]]:
        self._scratch.write_bytes(file)
        model = TfliteModel(self._scratch, signature=SERVING_DEFAULT)
        calls = [model.run_in_floats(call) for call in self._calls]
        return {name: [outputs[name] for outputs in calls] for name in calls[0]}


def _over_calls(measure: Callable[[Array, Array], float], want: Sequence[Array], got: Sequence[Array]) -> float:
    """Measure all calls together; infinite if a size, which may depend on the data, differs."""
    if any(w.shape != g.shape for w, g in zip(want, got, strict=True)):
        return float("inf")
    return measure(np.concatenate([w.ravel() for w in want]), np.concatenate([g.ravel() for g in got]))


def _changed_share(want: Array, got: Array) -> float:
    return float(np.mean(want != got)) if want.size else 0.0


def noise_to_signal(want: Array, got: Array) -> float:
    """Return the energy of the error divided by that of the exact values, over the finite exact values.

    Infinite if one of these values in `got` is not finite.
    """
    finite = np.isfinite(want)
    exact = want[finite].astype(np.float64)
    noise, signal = float(np.square(got[finite] - exact).sum()), float(np.square(exact).sum())
    if not np.isfinite(noise):
        return float("inf")
    return noise / signal if signal else noise

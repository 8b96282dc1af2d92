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
        self._float_outputs = outputs_of(start_from_zero(calibrated), self._calls, scratch)

    def loss(self, group: Collection[str]) -> float:
        """Return the noise-to-signal ratio (of energies) of the output that loses most when only these layers are int8.

        If no output is float, the loss of an integer output is the share of values that change.

        Raises:
            TfliteError: the quantizer or the interpreter fails.
        """
        return self.loss_beside(self._all - set(group))

    def loss_beside(self, float_layers: Collection[str]) -> float:
        """Return the loss as `loss` does, with all layers but these in int8."""
        file = quantize.quantize(self._calibrated, float_layers)
        return largest_loss(self._float_outputs, outputs_of(file, self._calls, self._scratch))

    @property
    def float_outputs(self) -> tuple[str, ...]:
        """Names of the outputs that are float."""
        return float_names(self._float_outputs)


Outputs = Mapping[str, Sequence[Array]]
"""The arrays of all calls, by output."""


def outputs_of(file: bytes, calls: Iterable[Mapping[str, Array]], scratch: Path) -> Outputs:
    """Run serving_default of a file on inputs by name.

    Args:
        file: its content.
        calls: the inputs.
        scratch: a path for the file, not used by anything else.

    Raises:
        TfliteError: the interpreter fails.
    """
    scratch.write_bytes(file)
    model = TfliteModel(scratch, signature=SERVING_DEFAULT)
    answers = [model.run_in_floats(call) for call in calls]
    return {name: [outputs[name] for outputs in answers] for name in answers[0]}


def float_names(outputs: Outputs) -> tuple[str, ...]:
    """Return the names of the outputs that are float."""
    return tuple(name for name, arrays in outputs.items() if arrays[0].dtype.kind == "f")


def largest_loss(want: Outputs, got: Outputs) -> float:
    """Return the noise-to-signal ratio (of energies) of the output that loses most.

    If no output is float, return the share of values that change of an integer output.
    """
    floats = float_names(want)
    measure = noise_to_signal if floats else _changed_share
    return max(_over_calls(measure, want[name], got[name]) for name in floats or want)


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

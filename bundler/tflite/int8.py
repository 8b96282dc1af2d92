"""The int8 files of one model: which ranges its tensors have, and which layers stay float."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from bundler.tflite import clipping, placement, quantize
from bundler.tflite.image_inputs import with_pixel_range
from bundler.tflite.leading import leading_layers
from bundler.tflite.mix import decibels
from bundler.tflite.sensitivity import Sensitivity
from bundler.values.arrays import Array
from bundler.values.converted import SERVING_DEFAULT

Calls = Callable[[str], Iterable[Mapping[str, Array]]]
"""Returns the calibration calls of a signature, from the first on."""


class Int8:
    """Quantizes one calibrated file; what several files share is computed once.

    Args:
        calibrated: content of the float file with ranges (`quantize.calibrate`).
        signatures: names of its signatures.
        calls: the calibration calls.
        scratch: a path for temporary .tflite files, not used by anything else.
        pixels: the input that takes pixels of 0 to 255, or None.
    """

    def __init__(
        self, calibrated: bytes, signatures: Collection[str], calls: Calls, scratch: Path, pixels: str | None = None
    ) -> None:
        clipped = clipping.clip(calibrated, {signature: calls(signature) for signature in signatures})
        self.clipped = replace(clipped, file=with_pixel_range(clipped.file, pixels)) if pixels else clipped
        self._calls, self._scratch = calls, scratch

    @cached_property
    def sensitivity(self) -> Sensitivity:
        """Measures the loss of layers in int8."""
        return Sensitivity(self.clipped.file, self._calls(SERVING_DEFAULT), self._scratch)

    @cached_property
    def _fast(self) -> frozenset[str]:
        """The operators that are float because XNNPACK runs them faster so, by their tensors."""
        return frozenset(placement.float_layers(self.clipped.file, self.clipped.masked))

    @cached_property
    def _leading(self) -> tuple[frozenset[str], int]:
        if not self.sensitivity.float_outputs:
            return frozenset(), 0
        layers = quantize.layers(self.clipped.file)
        return leading_layers(layers, lambda lead: decibels(self.sensitivity.loss_beside({*self._fast, *lead})))

    @property
    def leading(self) -> int:
        """How many of the first convolutions and fully connected layers are float for the sake of the outputs."""
        return self._leading[1]

    @property
    def floats(self) -> frozenset[str]:
        """The operators that are float in the variant int8, by their tensors."""
        return self._fast | self._leading[0]

    def file(self, float_layers: Collection[str] = ()) -> bytes:
        """Return the variant int8 with some more float layers.

        Raises:
            TfliteError: the quantizer fails.
        """
        return quantize.quantize(self.clipped.file, {*self.floats, *float_layers})

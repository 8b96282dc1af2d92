"""Samples for calibration, and the form that a model takes them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bundler.values import input_draws
from bundler.values.arrays import Array

if TYPE_CHECKING:
    from bundler.values.signature import Signature, TensorSpec




@dataclass(frozen=True)
class SampleFormat:
    """What a sample looks like: the static shapes of a call, and where its batch axis is.

    Attributes:
        shapes: the shape of each input in one call of the .tflite file, in PyTorch's order of axes.
        purpose: what the samples are for, in messages.
    """

    signature: Signature
    shapes: Mapping[str, tuple[int, ...]]
    purpose: str = "Calibration"

    def batch_axis(self, spec: TensorSpec) -> int | None:
        return next((axis for axis, dim in enumerate(spec.dims) if input_draws.is_batch(dim)), None)

    def sample_shape(self, spec: TensorSpec) -> tuple[int, ...]:
        axis = self.batch_axis(spec)
        return tuple(n for i, n in enumerate(self.shapes[spec.name]) if i != axis)

    def stacked(self, samples: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        """One call of these samples; an input without a batch axis is the first one's."""
        return {spec.name: self._joined(spec, samples) for spec in self.signature.inputs}

    def _joined(self, spec: TensorSpec, samples: Sequence[Mapping[str, Array]]) -> Array:
        axis = self.batch_axis(spec)
        arrays = [sample[spec.name] for sample in samples]
        return arrays[0] if axis is None else np.stack(arrays, axis)

    @property
    def batch(self) -> int:
        """Samples in one call."""
        for spec in self.signature.inputs:
            axis = self.batch_axis(spec)
            if axis is not None:
                return self.shapes[spec.name][axis]
        return 1


@dataclass(frozen=True)
class Sample:
    """One sample, arrays without the batch axis. `where` says which it is: `cats.npz[3]`."""

    where: str
    arrays: dict[str, Array]

"""Samples for calibration and evaluation, and the format in which a model takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bundler.values import input_draws
from bundler.values.arrays import Array

if TYPE_CHECKING:
    from bundler.values.signature import Signature, TensorSpec


def batch_axis(spec: TensorSpec) -> int | None:
    """Return the index of a tensor's batch axis, or None if it has none."""
    return next((axis for axis, dim in enumerate(spec.dims) if input_draws.is_batch(dim)), None)


@dataclass(frozen=True)
class SampleFormat:
    """The static shapes of a call, and the position of the batch axis, from which the shape of one sample follows.

    Attributes:
        signature: PyTorch's signature.
        shapes: the shape of each input in one call of the .tflite file, in PyTorch's axis order.
        purpose: the use of the samples, for messages.
    """

    signature: Signature
    shapes: Mapping[str, tuple[int, ...]]
    purpose: str = "Calibration"

    def sample_shape(self, spec: TensorSpec) -> tuple[int, ...]:
        """Return the shape of one sample of an input, without the batch axis."""
        axis = batch_axis(spec)
        return tuple(n for i, n in enumerate(self.shapes[spec.name]) if i != axis)

    def stacked(self, samples: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        """Stack samples into one call; an input without a batch axis is taken from the first sample."""
        return {spec.name: self._joined(spec, samples) for spec in self.signature.inputs}

    def _joined(self, spec: TensorSpec, samples: Sequence[Mapping[str, Array]]) -> Array:
        axis = batch_axis(spec)
        arrays = [sample[spec.name] for sample in samples]
        return arrays[0] if axis is None else np.stack(arrays, axis)

    @property
    def batch(self) -> int:
        """The number of samples in one call."""
        for spec in self.signature.inputs:
            axis = batch_axis(spec)
            if axis is not None:
                return self.shapes[spec.name][axis]
        return 1


@dataclass(frozen=True)
class Sample:
    """One sample.

    Attributes:
        where: origin of the sample, for messages, such as `cats.npz[3]`.
        arrays: by input name, without the batch axis.
    """

    where: str
    arrays: dict[str, Array]

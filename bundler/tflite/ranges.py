"""The value ranges of calibration data, and outliers in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bundler.adapters.samples import Sample


@dataclass(frozen=True)
class InputRange:
    """The range of one input's values over all samples.

    Attributes:
        name: the input.
        low, high: the smallest and the largest value.
        inner: the range of the middle 99.8 % of the values.
        farthest: the sample with the value farthest from `inner`.
        outliers: share of the values that lie outside `inner` by more than its width.
    """

    name: str
    low: float
    high: float
    inner: tuple[float, float]
    farthest: str
    outliers: float

    @classmethod
    def of(cls, name: str, samples: Sequence[Sample]) -> InputRange:
        """Measure the input over the samples."""
        values = np.stack([sample.arrays[name] for sample in samples]).astype(np.float64).reshape(len(samples), -1)
        if not values.size:
            return cls(name, 0.0, 0.0, (0.0, 0.0), samples[0].where, 0.0)
        low, high = (float(q) for q in np.quantile(values, (0.001, 0.999)))
        beyond = np.maximum(low - values, values - high)
        farthest = samples[int(beyond.max(1).argmax())].where
        outside = float(np.mean(beyond > high - low))
        return cls(name, float(values.min()), float(values.max()), (low, high), farthest, outside)

    @property
    def has_outliers(self) -> bool:
        """Whether a few values extend the range so far that most of int8's 256 levels are wasted on them."""
        span = self.inner[1] - self.inner[0]
        return 0 < span < (self.high - self.low) / 4

    def explain(self) -> str:
        """Return a note about the outliers."""
        return (
            f"input {self.name}: the calibration data ranges from {self.low:.3g} to {self.high:.3g}, but 99.8 % of it from "
            f"{self.inner[0]:.3g} to {self.inner[1]:.3g}; such outliers (the farthest in {self.farthest}) reduce the "
            "resolution of int8"
        )

    def to_json(self) -> dict[str, float | str]:
        """Return the record for bundle.json."""
        inner = {"p0_1": self.inner[0], "p99_9": self.inner[1]}
        return {"min": self.low, "max": self.high, **inner, "outliers": round(self.outliers, 6), "farthest": self.farthest}

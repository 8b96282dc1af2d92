"""What calibration data spans, and the few values that take up most of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bundler.adapters.samples import Sample


@dataclass(frozen=True)
class InputRange:
    """What one input's values span over all samples.

    Attributes:
        inner: between which 99.8 % of the values lie.
        farthest: the sample with the value farthest from there.
        outliers: share of the values outside three times the inner span.
    """

    name: str
    low: float
    high: float
    inner: tuple[float, float]
    farthest: str
    outliers: float

    @classmethod
    def of(cls, name: str, samples: Sequence[Sample]) -> InputRange:
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
        """Whether a few values take up most of the range that int8 has 256 steps for."""
        span = self.inner[1] - self.inner[0]
        return 0 < span < (self.high - self.low) / 4

    def explain(self) -> str:
        return (
            f"input {self.name}: the calibration data ranges from {self.low:.3g} to {self.high:.3g}, 99.8 % of it from "
            f"{self.inner[0]:.3g} to {self.inner[1]:.3g}; such outliers (the farthest in {self.farthest}) cost int8 its "
            "resolution"
        )

    def to_json(self) -> dict[str, float | str]:
        inner = {"p0_1": self.inner[0], "p99_9": self.inner[1]}
        return {"min": self.low, "max": self.high, **inner, "outliers": round(self.outliers, 6), "farthest": self.farthest}

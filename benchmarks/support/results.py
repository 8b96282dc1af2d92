"""The results of benchmarks.converters for one model."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from benchmarks.support.common import ratio
from benchmarks.support.contest import ONNX_RUNTIME

OURS, OURS_NHWC, ONNX_TF, ONNX2TF = "tfbundle", "tfbundle nhwc", "onnx-tf", "onnx2tf"
CONTENDERS = (OURS, OURS_NHWC, ONNX_TF, ONNX2TF, ONNX_RUNTIME)
CONVERTERS = (OURS, ONNX_TF, ONNX2TF)
BATCHES = (1, 8)


@dataclass
class Results:
    """The figures of one model by contender.

    Attributes:
        ms: batch -> contender -> the median milliseconds of each turn.
        seconds: the time of the whole conversion process; ours is the median of several.
        peak_mb: the peak memory of the whole conversion process.
        transposes: the number of transposes in the SavedModel.
    """

    ms: dict[int, dict[str, list[float]]] = field(default_factory=lambda: {batch: {} for batch in BATCHES})
    seconds: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)
    transposes: dict[str, int] = field(default_factory=dict)

    def median(self, name: str, batch: int = 1) -> float | None:
        turns = self.ms[batch].get(name)
        return statistics.median(turns) if turns else None

    def ratio(self, peer: str, batch: int = 1) -> float | None:
        """Return our latency divided by the peer's, or None if the peer did not run."""
        return ratio(self.ms[batch], OURS, peer) if peer in self.ms[batch] else None

    def ratio_to_better(self) -> float | None:
        """Return our latency divided by that of the better of the other converters, or None if neither ran."""
        return max((value for value in map(self.ratio, (ONNX_TF, ONNX2TF)) if value is not None), default=None)

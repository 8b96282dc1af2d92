"""Results of the contest of converters."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from benchmarks.common import ratio
from benchmarks.contest import ONNX_RUNTIME

OURS, OURS_NHWC, ONNX_TF, ONNX2TF = "tfbundle", "tfbundle nhwc", "onnx-tf", "onnx2tf"
CONTENDERS = (OURS, OURS_NHWC, ONNX_TF, ONNX2TF, ONNX_RUNTIME)


CONVERTERS = (OURS, ONNX_TF, ONNX2TF)


BATCHES = (1, 8)


@dataclass
class Results:
    """Of one model, each by contender.

    Attributes:
        ms: by batch: the median of each turn, in milliseconds.
        seconds, peak_mb: of the conversion's whole process; ours is the median of several.
    """

    ms: dict[int, dict[str, list[float]]] = field(default_factory=lambda: {batch: {} for batch in BATCHES})
    seconds: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)
    transposes: dict[str, int] = field(default_factory=dict)

    def median(self, name: str, batch: int = 1) -> float | None:
        turns = self.ms[batch].get(name)
        return statistics.median(turns) if turns else None

    def ratio(self, peer: str, batch: int = 1) -> float | None:
        """Ours through the peer's; None where the peer did not run."""
        return ratio(self.ms[batch], OURS, peer) if peer in self.ms[batch] else None

    def of_better(self) -> float | None:
        """Ours through the better of the other converters."""
        return max((value for value in map(self.ratio, (ONNX_TF, ONNX2TF)) if value is not None), default=None)

"""One TFLite file and its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.tflite.delegation import Delegation
from bundler.tflite.runner import Scale
from bundler.values.signature import TensorSpec
from serving.golden.compare import Difference

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import TfliteVariant


@dataclass(frozen=True)
class VariantResult:
    """One .tflite file and its figures.

    Attributes:
        inputs, outputs: as in the file, all dims fixed; names are PyTorch's.
        latency_ms: median milliseconds of a call, by number of threads.
        differences: name of the draw, and how far one output is from PyTorch.
        rms_error: by output: |got - want| / |want| over the whole tensor, of the worst draw; what quantization costs
            on the whole, where `differences` have the single worst element.
        operators, float_operators: counts by TFLite's names; the second what computes in float.
        delegation: what XNNPACK takes of it.
        calibration: for the variants that need it: where the samples came from, how they were read, their ranges.
        accuracy: agreement with PyTorch, see `bundler.tflite.gate`.
        evaluation: the metric of the evaluate function, PyTorch's, and the floor.
        float_layers: of mix: what stays float.
        scales: of the inputs and outputs that are quantized integers.
        signatures: further signatures of the file: their inputs and outputs.
    """

    variant: TfliteVariant
    path: Path
    size_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    latency_ms: Mapping[int, float]
    differences: tuple[tuple[str, Difference], ...]
    rms_error: Mapping[str, float]
    operators: Mapping[str, int]
    float_operators: Mapping[str, int]
    calibration: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    delegation: Delegation | None = None
    accuracy: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    float_layers: tuple[str, ...] = ()
    scales: Mapping[str, Scale] = field(default_factory=dict)
    signatures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def max_rel(self) -> float:
        """Largest relative error against PyTorch over all draws and outputs (rule: `serving.golden.compare`)."""
        return max((difference.max_rel for _, difference in self.differences), default=0.0)

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.path.name,
            "size_bytes": self.size_bytes,
            "inputs": [str(spec) for spec in self.inputs],
            "outputs": [str(spec) for spec in self.outputs],
            "latency_ms": {str(threads): round(ms, 4) for threads, ms in self.latency_ms.items()},
            "error": [{"draw": draw, **difference.to_json()} for draw, difference in self.differences],
            "rms_error": dict(self.rms_error),
            "operators": dict(self.operators),
            "float_operators": dict(self.float_operators),
            **({"delegation": self.delegation.to_json()} if self.delegation else {}),
            **({"calibration": dict(self.calibration)} if self.calibration else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
            "accuracy": dict(self.accuracy),
            **({"evaluation": dict(self.evaluation)} if self.evaluation else {}),
            **({"float_layers": list(self.float_layers)} if self.float_layers else {}),
            **({"scales": {name: asdict(scale) for name, scale in self.scales.items()}} if self.scales else {}),
            **({"signatures": {n: dict(s) for n, s in self.signatures.items()}} if self.signatures else {}),
        }

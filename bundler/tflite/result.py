"""The measured result of one TFLite variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.tflite.delegation import Delegation
from bundler.tflite.runner import Scale
from bundler.tflite.runtimes import RuntimeRequirements
from bundler.values.signature import TensorSpec
from serving.golden.compare import Difference

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import TfliteVariant


@dataclass(frozen=True)
class VariantResult:
    """A .tflite file and its measurements.

    Attributes:
        variant: the variant's name.
        path: the file.
        size_bytes: its size.
        inputs, outputs: those of the file, with fixed dims and PyTorch's names.
        latency_ms: median latency of one call in milliseconds, by number of threads.
        float_ms: for an int8 file, that of the same graph in float32, with one thread.
        differences: pairs of a draw's name and the difference of one output from PyTorch.
        rms_error: |output - reference| / |reference| over the whole tensor, by output name, for the worst draw. It measures the
            overall cost of quantization; `differences` hold the single worst element.
        operators, float_operators: counts by TFLite operator name, of all operators and of those that compute in float.
        calibration: source, reading rule and value ranges of the samples, for variants that need calibration.
        notes: remarks for the user.
        delegation: the part of the graph that XNNPACK runs.
        accuracy: agreement with PyTorch (see `bundler.tflite.gate`).
        evaluation: the evaluate function's metric for the file and for PyTorch, and the floor.
        float_layers: the layers of a mix that stay float.
        scales: quantization of the inputs and outputs that are quantized integers.
        signatures: inputs and outputs of the file's additional signatures.
        load_ms: time in milliseconds from the file to an interpreter that is ready to run; None if it cannot be run here.
        model_dtypes: the model's dtypes of inputs and outputs that have another in the file, by name (`tflite.io: portable`).
        pixels: the input that takes pixels of 0 to 255, or None (`tflite.images.fold`).
        requirements: the runtimes that run the file, and their known faults.
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
    float_ms: float | None = None
    load_ms: float | None = None
    model_dtypes: Mapping[str, str] = field(default_factory=dict)
    pixels: str | None = None
    requirements: RuntimeRequirements | None = None

    @property
    def max_rel(self) -> float:
        """The largest relative error against PyTorch over all draws and outputs, as `serving.golden.compare` defines it."""
        return max((difference.max_rel for _, difference in self.differences), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Return the record for bundle.json."""
        return {
            "file": self.path.name,
            "size_bytes": self.size_bytes,
            "inputs": [str(spec) for spec in self.inputs],
            "outputs": [str(spec) for spec in self.outputs],
            "latency_ms": {str(threads): round(ms, 4) for threads, ms in self.latency_ms.items()},
            **({"float_ms": round(self.float_ms, 4)} if self.float_ms is not None else {}),
            "error": [{"draw": draw, **difference.to_json()} for draw, difference in self.differences],
            "rms_error": dict(self.rms_error),
            "operators": dict(self.operators),
            "float_operators": dict(self.float_operators),
            **({"load_ms": round(self.load_ms, 4)} if self.load_ms is not None else {}),
            **({"delegation": self.delegation.to_json()} if self.delegation else {}),
            **({"runtime": self.requirements.to_json()} if self.requirements else {}),
            **({"calibration": dict(self.calibration)} if self.calibration else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
            "accuracy": dict(self.accuracy),
            **({"evaluation": dict(self.evaluation)} if self.evaluation else {}),
            **({"float_layers": list(self.float_layers)} if self.float_layers else {}),
            **({"scales": {name: asdict(scale) for name, scale in self.scales.items()}} if self.scales else {}),
            **({"model_dtypes": dict(self.model_dtypes)} if self.model_dtypes else {}),
            **({"pixels": self.pixels} if self.pixels else {}),
            **({"signatures": {n: dict(s) for n, s in self.signatures.items()}} if self.signatures else {}),
        }

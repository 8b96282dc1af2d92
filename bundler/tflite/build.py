"""Makes, runs and measures the requested TFLite variants of a model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bundler import inputs
from bundler.errors import TfbundleError, TfliteError, UsageError
from bundler.parity import REFUSALS, differences, to_served
from bundler.tflite import contents, exchange
from bundler.tflite.calibration import Calibration, Layout
from bundler.tflite.calibration import read as read_calibration
from bundler.tflite.delegation import Delegation, delegation
from bundler.tflite.exchange import Made
from bundler.tflite.runner import TfliteModel
from bundler.tflite.sizes import static_shapes, static_sizes
from bundler.tflite.variants import write_static
from serving.compare import Difference

if TYPE_CHECKING:
    from bundler.converters import ConvertedModel
    from bundler.export import ExportedSignature
    from bundler.signature import TensorSpec
    from bundler.spec import TfliteSpec, TfliteVariant

Array = npt.NDArray[Any]

CALIBRATION_DRAWS = 4
NOTED_RMS = 0.1
"""A variant whose error is above this share of the output gets a note."""


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
        calibration: for int8: where the samples came from and how they were read.
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

    @property
    def max_rel(self) -> float:
        """Largest relative error against PyTorch over all draws and outputs (rule: `serving.compare`)."""
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
        }


def check_request(spec: TfliteSpec) -> None:
    """Refuse a request that cannot end well, before any work is done.

    Raises:
        UsageError: int8 without calibration data.
    """
    if "int8" in spec.variants and not spec.calibration:
        raise UsageError(
            "The int8 TFLite variant needs calibration data: samples of what the model will see.",
            fix="give --calibration an .npz (an array an input), a folder of .npz or images, or file.py:name",
        )


def build_variants(
    converted: ConvertedModel,
    exported: ExportedSignature,
    spec: TfliteSpec,
    folder: Path,
    model_name: str,
    *,
    base: Path = Path(),
) -> tuple[VariantResult, ...]:
    """Write `<model>-<variant>.tflite` for each variant of the spec, run it and compare it with PyTorch.

    Args:
        exported: serving_default, with PyTorch as the reference.
        folder: exists already.
        base: what a relative path of calibration data is relative to.

    Raises:
        UsageError: int8 without calibration, unusable calibration data, or sizes that PyTorch refuses.
        TfliteError: one or more variants cannot be made; all were tried, and all failures are named.
    """
    check_request(spec)
    if not spec.variants:
        return ()
    sizes = static_sizes(exported.signature, exported.examples, spec)
    samples = _samples(exported, spec, sizes, base)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".work-") as work:
        job = _Job.of(converted, exported, sizes, samples, Path(work))
        made = exchange.make_all(Path(work), spec.variants)
        failed = [result for result in made.values() if isinstance(result, TfliteError)]
        done = {variant: result for variant, result in made.items() if isinstance(result, Made)}
        if failed:
            raise _joined(failed, list(done))
        return tuple(
            job.measured(variant, done[variant], folder / f"{model_name}-{variant}.tflite") for variant in spec.variants
        )


def _samples(
    exported: ExportedSignature, spec: TfliteSpec, sizes: Mapping[str, int], base: Path
) -> Calibration | None:
    if "int8" not in spec.variants or not spec.calibration:
        return None
    shapes = static_shapes(exported.signature, exported.examples, sizes)
    return read_calibration(spec.calibration, Layout(exported.signature, shapes), base=base)


def _joined(failed: Sequence[TfliteError], done: Sequence[str]) -> TfliteError:
    """One error for all; the cause is TensorFlow's report on the first."""
    if len(failed) == 1 and not done:
        return failed[0]
    made = f" (made: {', '.join(done)})" if done else ""
    whats = "\n".join(dict.fromkeys(error.what for error in failed))
    fixes = "; ".join(dict.fromkeys(error.fix for error in failed if error.fix))
    joined = TfliteError(
        f"{len(failed)} TFLite variant(s) failed{made}.\n{whats}", where=failed[0].where, fix=fixes
    )
    joined.__cause__ = failed[0].__cause__
    return joined


@dataclass(frozen=True)
class _Draw:
    """Inputs as PyTorch takes them, the same as served, and PyTorch's answer."""

    name: str
    served: dict[str, Array]
    answer: dict[str, Array]


@dataclass(frozen=True)
class _Job:
    """What all variants of a model have in common."""

    draws: tuple[_Draw, ...]
    calibration: Calibration | None
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        converted: ConvertedModel,
        exported: ExportedSignature,
        sizes: Mapping[str, int],
        samples: Calibration | None,
        work: Path,
    ) -> _Job:
        """Ask PyTorch, and fill the work folder for the TFLite process."""
        permutations = converted.permutations
        draws = tuple(_asked(exported, name, call, permutations) for name, call in _calls(exported, sizes, samples))
        shapes = {name: array.shape for name, array in draws[0].served.items()}
        write_static(converted.static(shapes), exported.signature.input_names, work / "saved_model")
        exchange.save_calls(work / "draws", (draw.served for draw in draws))
        if samples:
            exchange.save_calls(work / "samples", (to_served(call, permutations) for call in samples.calls()))
        return cls(draws, samples, tuple(_range_notes(exported, samples)) if samples else ())

    def measured(self, variant: TfliteVariant, made: Made, path: Path) -> VariantResult:
        """Bring the file to its place and compare its answers with PyTorch's."""
        exchange.move(made, path)
        model = TfliteModel(path)
        found = contents.operators(path)
        samples = self.calibration if variant == "int8" else None
        rms = self._rms_error(made)
        return VariantResult(
            variant=variant,
            path=path,
            size_bytes=path.stat().st_size,
            inputs=_ordered(model.inputs, self.draws[0].served),
            outputs=_ordered(model.outputs, self.draws[0].answer),
            latency_ms=made.latency_ms,
            differences=tuple(self._differences(made)),
            rms_error=rms,
            operators=contents.count(found),
            float_operators=contents.count(found, only_float=True),
            delegation=delegation(path),
            calibration=samples.to_json() if samples else None,
            notes=(*(self.notes if samples else ()), *_rms_notes(variant, rms)),
        )

    def _rms_error(self, made: Made) -> dict[str, float]:
        """Of the outputs that are floats of the right shape."""
        worst: dict[str, float] = {}
        for draw, got in zip(self.draws, made.outputs, strict=True):
            for name, want in draw.answer.items():
                if name in got and want.dtype.kind == "f" and want.shape == got[name].shape and want.size:
                    worst[name] = max(worst.get(name, 0.0), _rms(want, got[name]))
        return {name: value for name, value in worst.items() if np.isfinite(value)}

    def _differences(self, made: Made) -> Iterator[tuple[str, Difference]]:
        for draw, got in zip(self.draws, made.outputs, strict=True):
            for difference in differences(draw.answer, got):
                yield draw.name, difference


def _calls(
    exported: ExportedSignature, sizes: Mapping[str, int], samples: Calibration | None
) -> Iterator[tuple[str, dict[str, Array]]]:
    """The example brought to the file's sizes, a random draw, and the first calibration samples."""
    signature, examples = exported.signature, exported.examples
    yield "example", inputs.fit(signature, examples, sizes)
    yield "random", inputs.resample(signature, examples, sizes, np.random.default_rng(0))
    for index, call in enumerate(islice(samples.calls(), CALIBRATION_DRAWS) if samples else ()):
        yield f"calibration-{index}", call


def _asked(
    exported: ExportedSignature,
    name: str,
    call: dict[str, Array],
    permutations: Mapping[str, Sequence[int]],
) -> _Draw:
    try:
        answer = exported.reference(call)
    except REFUSALS as exc:
        if isinstance(exc, TfbundleError):
            raise
        shapes = ", ".join(f"{name}{list(array.shape)}" for name, array in call.items())
        raise UsageError(
            f"PyTorch refuses the sizes of the TFLite files ({shapes}): {exc}",
            fix="set tflite.batch and tflite.dims in bundle.yaml to sizes that the model takes",
        ) from exc
    return _Draw(name, to_served(call, permutations), answer)


def _ordered(specs: Sequence[TensorSpec], names: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    """In the model's order: a TFLite signature is sorted by name."""
    by_name = {spec.name: spec for spec in specs}
    return tuple(by_name[name] for name in names if name in by_name)


def _rms(want: Array, got: Array) -> float:
    exact = want.astype(np.float64)
    error, size = np.linalg.norm(got - exact), np.linalg.norm(exact)
    return float(error / size) if size else float(error)


def _rms_notes(variant: str, rms: Mapping[str, float]) -> Iterator[str]:
    for name, value in rms.items():
        if value > NOTED_RMS:
            yield (
                f"output {name}: the {variant} file is {value:.0%} away from PyTorch (rms); "
                "measure its accuracy on real data, or take float16"
            )


def _range_notes(exported: ExportedSignature, samples: Calibration) -> Iterator[str]:
    """Calibration data far from the example's range was most likely prepared in another way."""
    for spec in exported.signature.inputs:
        if not spec.dtype.startswith("float"):
            continue
        example = np.asarray(exported.examples[spec.name], np.float64)
        drawn = [sample.arrays[spec.name] for sample in samples.samples]
        low, high = float(min(a.min() for a in drawn)), float(max(a.max() for a in drawn))
        spread = max(high - low, float(np.ptp(example)), 1e-12)
        if abs(example.min() - low) > spread / 2 or abs(example.max() - high) > spread / 2:
            yield (
                f"input {spec.name}: the example ranges from {example.min():.3g} to {example.max():.3g}, the "
                f"calibration data from {low:.3g} to {high:.3g}; is it normalised as the model wants it?"
            )

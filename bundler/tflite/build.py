"""Makes, runs and measures the requested TFLite variants of a model."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bundler.errors import GateError, TfbundleError, TfliteError
from bundler.spec.bundle_spec import CALIBRATED
from bundler.tflite import contents, exchange
from bundler.tflite.calibration import Calibration
from bundler.tflite.delegation import delegation
from bundler.tflite.exchange import Made, WorkerClient
from bundler.tflite.layers import Layer, Names, tensors
from bundler.tflite.mix import Search
from bundler.tflite.model import Evaluated, Samples, StaticModel
from bundler.tflite.rejected import Outcome, RejectedVariant, below_gate
from bundler.tflite.request import check_request
from bundler.tflite.result import VariantResult
from bundler.tflite.runner import TfliteModel
from bundler.tflite.sizes import static_sizes
from bundler.values.arrays import Array
from bundler.values.comparison import differences
from bundler.values.converted import SERVING_DEFAULT
from bundler.values.signature import TensorSpec
from serving.golden.compare import Difference

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import TfliteSpec, TfliteVariant
    from bundler.values.converted import ConvertedModel
    from bundler.values.exported import ExportedSignature

Tell = Callable[[str, bool, float], None]

PATIENCE_S = 5.0
"""A mix that nobody asked for is looked for only if an answer of the gate takes no longer than this."""
NOTED_RMS = 0.1
"""A variant whose error is above this share of the output gets a note."""


def build_variants(
    converted: ConvertedModel,
    exported: ExportedSignature,
    spec: TfliteSpec,
    folder: Path,
    model_name: str,
    *,
    base: Path = Path(),
) -> tuple[VariantResult, ...]:
    """`make_variants`, when every variant has to be there.

    Raises:
        TfbundleError: as `make_variants`; and one or more variants cannot be made or are below their gate: all were
            tried, and all failures are named.
    """
    outcome = make_variants(converted, exported, spec, folder, model_name, base=base)
    if outcome.refused:
        raise outcome.joined_error()
    return outcome.made


def make_variants(
    converted: ConvertedModel,
    exported: ExportedSignature,
    spec: TfliteSpec,
    folder: Path,
    model_name: str,
    *,
    base: Path = Path(),
    tell: Tell | None = None,
) -> Outcome:
    """Write `<model>-<variant>.tflite` for each variant of the spec, run it and compare it with PyTorch.

    A variant that cannot be made, or that is below its gate, leaves no file and does not keep the others from being made.

    Args:
        exported: serving_default, with PyTorch as the reference.
        folder: exists already.
        base: what a relative path of calibration data is relative to.
        tell: called with each variant, whether it was made, and the seconds it took.

    Raises:
        UsageError: a request that cannot end well (see `check_request`), or sizes that PyTorch refuses.
    """
    check_request(spec, base, str(exported.onnx.absolute()))
    if not spec.wanted:
        return Outcome()
    sizes = static_sizes(exported.signature, exported.examples, spec)
    samples = Samples.read(exported, spec, sizes, base)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".work-") as work:
        model = StaticModel.of(converted, exported, spec, samples.found, Path(work))
        with WorkerClient(Path(work)) as session:
            maker = VariantBuilder(model, samples, session, folder / model_name, Evaluated(exported, spec, model, base))
            return Outcome.of([_timed(maker, variant, tell) for variant in spec.wanted])


def _timed(maker: VariantBuilder, variant: TfliteVariant, tell: Tell | None) -> VariantResult | RejectedVariant:
    start = time.perf_counter()
    result = maker.result(variant)
    if tell:
        tell(variant, isinstance(result, VariantResult), time.perf_counter() - start)
    return result


@dataclass
class VariantBuilder:
    """Makes one variant after the other.

    Attributes:
        stem: path of the files, without `-<variant>.tflite`.
    """

    model: StaticModel
    samples: Samples
    session: WorkerClient
    stem: Path
    evaluated: Evaluated

    def result(self, variant: TfliteVariant) -> VariantResult | RejectedVariant:
        if variant in CALIBRATED and self.samples.problem:
            return RejectedVariant(variant, self.samples.problem)
        try:
            float_layers = self._float_layers(variant)
            made = self.session.make(variant, tensors(float_layers))
        except TfbundleError as exc:
            return self._refused(variant, exc)
        return self._gated(variant, made, float_layers)

    def _gated(self, variant: TfliteVariant, made: Made, float_layers: Sequence[Layer]) -> VariantResult | RejectedVariant:
        if not made.run:
            return self._not_run(variant, made)
        try:
            gate, figures = self.evaluated.gate, self.evaluated.figures(made)
        except TfbundleError as exc:
            return RejectedVariant(variant, exc, figures={"size_bytes": made.path.stat().st_size})
        measured = gate.metric_json(figures)
        said = {"accuracy": figures.to_json(), **({"evaluation": measured} if measured else {})}
        complaint = gate.complaint(figures)
        if complaint:
            size = {"size_bytes": made.path.stat().st_size, "latency_ms": made.latency_ms}
            return self._refused(variant, below_gate(variant, complaint), {**size, **said})
        return self._measured(variant, made, said, tuple(map(str, float_layers)))

    def _not_run(self, variant: TfliteVariant, made: Made) -> VariantResult | RejectedVariant:
        """A file with Flex operators: of its answers nothing can be said, so no metric of it can pass."""
        found = contents.operators(made.path)
        if self.model.spec.evaluate:
            needs = f"it needs the Flex delegate ({', '.join(contents.flex(found))})"
            what = f"The {variant} TFLite file cannot be evaluated here: {needs}."
            return RejectedVariant(variant, TfliteError(what, fix="leave --evaluate out to have the file unproven"))
        path = self._placed(variant, made)
        first = self.model.default.every[0]
        return VariantResult(
            variant, path, path.stat().st_size, _specs(first.served), _specs(first.answer), {}, (), {},
            contents.count(found), contents.count(found, only_float=True), notes=tuple(_flex_notes(found)),
        )  # fmt: skip

    def _placed(self, variant: TfliteVariant, made: Made) -> Path:
        path = self.stem.with_name(f"{self.stem.name}-{variant}.tflite")
        exchange.move(made, path)
        return path

    def _refused(self, variant: TfliteVariant, error: TfbundleError, figures: Mapping[str, Any] | None = None) -> RejectedVariant:
        """With what can be said of its layers, where int8 costs too much."""
        if not isinstance(error, GateError) or variant not in ("int8", "int8-io", "mix"):
            return RejectedVariant(variant, error, figures or {})
        try:
            losses = self._search.losses
            if "mix" not in self.model.spec.wanted and self.evaluated.seconds > PATIENCE_S:
                return RejectedVariant(variant, error, figures or {}, losses, searched=False)
            mixed = variant != "mix" and "mix" in self.model.spec.wanted
            return RejectedVariant(variant, error, figures or {}, losses, self._search.found, mixed=mixed)
        except TfbundleError as exc:
            return RejectedVariant(variant, error, {**(figures or {}), "layers_unknown": exc.what})

    def _float_layers(self, variant: TfliteVariant) -> tuple[Layer, ...]:
        spec = self.model.spec
        if variant != "mix":
            return ()
        if spec.float_layers and not spec.auto_mix:
            return self._search.named
        found = self._search.found
        if found is None:
            raise GateError("No mix passes the gate: the file is below it with every layer float, too.")
        return found

    @cached_property
    def _search(self) -> Search:
        names = Names.read(self.model.exported.onnx)
        return Search(self.session, names, self.model.spec.float_layers, self.evaluated.passes)

    def _measured(
        self, variant: TfliteVariant, made: Made, said: Mapping[str, Any], float_layers: tuple[str, ...]
    ) -> VariantResult:
        """Bring the file to its place and compare its answers with PyTorch's."""
        path = self._placed(variant, made)
        model = TfliteModel(path, signature=SERVING_DEFAULT)
        found = contents.operators(path)
        samples = self.samples.found if variant in CALIBRATED else None
        rms = self._rms_error(made)
        draws = self.model.default.every
        return VariantResult(
            variant=variant,
            path=path,
            size_bytes=path.stat().st_size,
            inputs=_ordered(model.inputs, draws[0].served),
            outputs=_ordered(model.outputs, draws[0].answer),
            latency_ms=made.latency_ms,
            differences=tuple(self._differences(made)),
            rms_error=rms,
            operators=contents.count(found),
            float_operators=contents.count(found, only_float=True),
            delegation=delegation(path),
            calibration=samples.to_json() if samples else None,
            notes=(*self._notes(variant, float_layers), *_rms_notes(variant, rms)),
            accuracy=said["accuracy"],
            evaluation=said.get("evaluation", {}),
            float_layers=float_layers,
            scales=model.scales,
            signatures=self._further(path),
        )

    def _notes(self, variant: TfliteVariant, float_layers: Sequence[str]) -> Iterator[str]:
        if variant in CALIBRATED and self.samples.found:
            yield from _range_notes(self.model.exported, self.samples.found)
            yield from self.samples.found.warnings()
        if variant == "mix" and not float_layers:
            yield "the gate passes with every layer in int8: this file is the int8 variant"

    def _further(self, path: Path) -> dict[str, dict[str, list[str]]]:
        found = {}
        for name in [name for name in self.model.draws if name != SERVING_DEFAULT]:
            model, first = TfliteModel(path, signature=name), self.model.default.every[0]
            ends = {"inputs": _ordered(model.inputs, first.served), "outputs": _ordered(model.outputs, first.answer)}
            found[name] = {end: [str(spec) for spec in specs] for end, specs in ends.items()}
        return found

    def _rms_error(self, made: Made) -> dict[str, float]:
        """Of the outputs that are floats of the right shape."""
        worst: dict[str, float] = {}
        draws = self.model.default.compared
        for draw, got in zip(draws, made.outputs[SERVING_DEFAULT], strict=False):
            for name, want in draw.answer.items():
                if name in got and want.dtype.kind == "f" and want.shape == got[name].shape and want.size:
                    worst[name] = max(worst.get(name, 0.0), _rms(want, got[name]))
        return {name: value for name, value in worst.items() if np.isfinite(value)}

    def _differences(self, made: Made) -> Iterator[tuple[str, Difference]]:
        for signature, draws in self.model.draws.items():
            prefix = "" if signature == SERVING_DEFAULT else f"{signature}/"
            for draw, got in zip(draws.compared, made.outputs[signature], strict=False):
                for difference in differences(draw.answer, got):
                    yield f"{prefix}{draw.name}", difference


def _specs(arrays: Mapping[str, Array]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, array.dtype.name, array.shape) for name, array in arrays.items())


def _flex_notes(found: Sequence[contents.TfliteOperator]) -> Iterator[str]:
    yield (
        f"TensorFlow's own kernels compute {', '.join(contents.flex(found))} (select_tf_ops): the app needs the Flex "
        "delegate, which is several times as large as LiteRT"
    )
    yield "not run and not compared with PyTorch: there is no Flex delegate for Python; try it in the app"


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

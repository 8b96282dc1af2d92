"""Makes and judges the TFLite variants of a model, side by side, and measures them one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from bundler.errors import GateError, TfbundleError, TfliteError
from bundler.process.clock import records_times
from bundler.spec.bundle_spec import INT8, USES_CALIBRATION
from bundler.tflite import contents, exchange
from bundler.tflite.delegation import delegation
from bundler.tflite.exchange import ConvertedFile
from bundler.tflite.layers import Layer, Names, tensors
from bundler.tflite.lowering import fitted, with_minimum
from bundler.tflite.mix import Search
from bundler.tflite.model import CalibrationSamples, Evaluator, StaticModel
from bundler.tflite.notes import (
    flex_notes,
    int8_notes,
    leading_notes,
    range_notes,
    rms_notes,
    runtime_notes,
    speed_notes,
    unquantized_notes,
)
from bundler.tflite.portable import end_dtype
from bundler.tflite.processes import Processes
from bundler.tflite.rejected import RejectedVariant, gate_error
from bundler.tflite.result import VariantResult
from bundler.tflite.runner import TfliteModel, load_ms
from bundler.tflite.runtimes import parse_target, requirements_of
from bundler.values.arrays import Array
from bundler.values.comparison import differences
from bundler.values.converted import SERVING_DEFAULT
from bundler.values.signature import TensorSpec
from serving.golden.compare import Difference

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import TfliteVariant

Finish: TypeAlias = Callable[[], "VariantResult | RejectedVariant"]
"""What is left to do for a variant that was judged: to measure it."""

PATIENCE_S = 5.0
"""Unless mix is requested, a mix is searched for only if the evaluate function takes no more than this many seconds."""


@dataclass
class VariantBuilder:
    """Builds the variants of one model.

    Attributes:
        model: what the model's files share.
        samples: the calibration data.
        processes: convert and run files.
        stem: path of the files, without `-<variant>.tflite`.
        evaluator: measures a file's accuracy.
        searches: whether the layers at fault and a mix are searched for if an int8 file is below its gate.
    """

    model: StaticModel
    samples: CalibrationSamples
    processes: Processes
    stem: Path
    evaluator: Evaluator
    searches: bool = True

    def build(self, variants: Sequence[TfliteVariant]) -> list[VariantResult | RejectedVariant]:
        """Make the variants and judge them at their gates; then measure each, while nothing else computes."""
        for variant in variants:
            if variant != "mix" and not self._problem(variant):
                self.processes.begin(variant)
        judged = [self._judged(variant) for variant in variants]
        self.processes.wait()
        results = []
        for variant, (finish, seconds) in zip(variants, judged, strict=True):
            began = time.perf_counter()
            results.append(finish())
            self.processes.on_variant(variant, isinstance(results[-1], VariantResult), seconds + time.perf_counter() - began)
        return results

    def _problem(self, variant: TfliteVariant) -> TfbundleError | None:
        return self.samples.problem if variant in USES_CALIBRATION else None

    def _judged(self, variant: TfliteVariant) -> tuple[Finish, float]:
        """Make a variant and judge it. Return what is left to do, and the seconds that it took."""
        problem = self._problem(variant)
        if problem:
            return (lambda: RejectedVariant(variant, problem)), 0.0
        began = time.perf_counter()
        try:
            float_layers = self._float_layers(variant)
            searched = time.perf_counter() - began
            file, seconds = self.processes.made(variant, tensors(float_layers))
            self._fit(variant, file.path)
        except TfbundleError as exc:
            rejected = self._rejected(variant, exc)
            return (lambda: rejected), time.perf_counter() - began
        return self._gated(variant, file, float_layers), searched + seconds

    def _fit(self, variant: TfliteVariant, path: Path) -> None:
        """Fit a file to the target runtime, and write the oldest runtime that runs it into its metadata.

        Raises:
            TfliteError: the target runtime cannot run it.
        """
        file = path.read_bytes()
        if self.model.spec.target_runtime:
            file = fitted(file, parse_target(self.model.spec.target_runtime), f"{variant} TFLite file", self._layer)
        path.write_bytes(with_minimum(file))

    def _layer(self, operator: contents.TfliteOperator) -> str:
        return str(self._names.layers([(operator.tensor, operator.name)])[0].name)

    def _gated(self, variant: TfliteVariant, file: ConvertedFile, float_layers: Sequence[Layer]) -> Finish:
        """Judge a file. Return what is left to do."""
        if not file.was_run:
            return lambda: self._not_run(variant, file)
        size = file.path.stat().st_size
        try:
            gate, figures = self.evaluator.gate, self.evaluator.figures(file)
        except TfbundleError as exc:
            rejected = RejectedVariant(variant, exc, figures={"size_bytes": size})
            return lambda: rejected
        metric = gate.metric_json(figures)
        accuracy = {"accuracy": figures.to_json(), **({"evaluation": metric} if metric else {})}
        complaint = gate.complaint(figures)
        if complaint:
            found = self._rejected(variant, gate_error(variant, complaint), {"size_bytes": size, **accuracy})
            return lambda: self._with_latency(found, file)
        return lambda: self._measured(variant, file, accuracy, tuple(map(str, float_layers)))

    def _with_latency(self, rejected: RejectedVariant, file: ConvertedFile) -> RejectedVariant:
        """Return a rejected variant with the latency of its file, which is still in the work folder."""
        variant = rejected.variant
        try:
            latency = self.processes.client(variant).measured(variant, file).latency_ms
        except TfbundleError:
            return rejected
        return replace(rejected, figures={"latency_ms": latency, **rejected.figures})

    def _not_run(self, variant: TfliteVariant, file: ConvertedFile) -> VariantResult | RejectedVariant:
        """Return the result of a file with Flex operators, which cannot be run here and so cannot pass an evaluate function."""
        operators = contents.operators(file.path)
        if self.model.spec.evaluate:
            needs = f"it needs the Flex delegate ({', '.join(contents.flex(operators))})"
            what = f"The {variant} TFLite file cannot be evaluated here: {needs}."
            return RejectedVariant(variant, TfliteError(
                what, fix="omit --evaluate to publish the file without a test", code="TFB4101"
            ))
        path = self._move_into_place(variant, file)
        first = self.model.default.cases[0]
        return VariantResult(
            variant, path, path.stat().st_size, self._file_specs(first.inputs), self._file_specs(first.outputs), {}, (), {},
            contents.count(operators), contents.count(operators, only_float=True), notes=tuple(flex_notes(operators)),
            model_dtypes=self._model_dtypes({}),
            pixels=self._pixels,
            requirements=requirements_of(path.read_bytes()),
        )  # fmt: skip

    def _file_specs(self, arrays: Mapping[str, Array]) -> tuple[TensorSpec, ...]:
        io = self.model.spec.io
        return tuple(TensorSpec(n, end_dtype(a.dtype.name, io), a.shape) for n, a in arrays.items())

    @property
    def _pixels(self) -> str | None:
        image = self.model.file_inputs.image
        return image.name if image and image.takes_pixels else None

    def _model_dtypes(self, scales: Mapping[str, Any]) -> dict[str, str]:
        """Return the model's dtypes of inputs and outputs to which a portable file gives another, by name."""
        first, io = self.model.default.cases[0], self.model.spec.io
        dtypes = {name: array.dtype.name for name, array in {**first.inputs, **first.outputs}.items() if name not in scales}
        return {name: dtype for name, dtype in dtypes.items() if end_dtype(dtype, io) != dtype}

    def _move_into_place(self, variant: TfliteVariant, file: ConvertedFile) -> Path:
        path = self.stem.with_name(f"{self.stem.name}-{variant}.tflite")
        exchange.move(file, path)
        return path

    def _rejected(
        self, variant: TfliteVariant, error: TfbundleError, figures: Mapping[str, Any] | None = None
    ) -> RejectedVariant:
        """Return the rejected variant, with the losses of its layers if an int8 file is below its gate."""
        if not isinstance(error, GateError) or variant not in INT8 or not self.searches:
            return RejectedVariant(variant, error, figures or {})
        try:
            losses = self._search.losses
            if "mix" not in self.model.spec.wanted and self.evaluator.last_seconds > PATIENCE_S:
                return RejectedVariant(variant, error, figures or {}, losses, searched=False)
            mixed = variant != "mix" and "mix" in self.model.spec.wanted
            return RejectedVariant(variant, error, figures or {}, losses, self._search.result, mixed=mixed)
        except TfbundleError as exc:
            return RejectedVariant(variant, error, {**(figures or {}), "layers_unknown": exc.what})

    def _float_layers(self, variant: TfliteVariant) -> tuple[Layer, ...]:
        spec = self.model.spec
        if variant != "mix":
            return ()
        if spec.float_layers and not spec.auto_mix:
            return self._search.named
        float_layers = self._search.result
        if float_layers is None:
            raise GateError("No mix passes the gate: the file is below it even with every layer in float.")
        return float_layers

    @cached_property
    def _names(self) -> Names:
        return Names.read(self.model.exported.onnx)

    @cached_property
    def _search(self) -> Search:
        return Search(self.processes.client("mix"), self._names, self.model.spec.float_layers, self.evaluator.passes)

    def _measured(
        self, variant: TfliteVariant, file: ConvertedFile, accuracy: Mapping[str, Any], float_layers: tuple[str, ...]
    ) -> VariantResult | RejectedVariant:
        """Measure the file, move it into place and compare its outputs with PyTorch's."""
        try:
            file = self.processes.client(variant).measured(variant, file)
        except TfbundleError as exc:
            return RejectedVariant(variant, exc, figures={"size_bytes": file.path.stat().st_size, **accuracy})
        path = self._move_into_place(variant, file)
        model = TfliteModel(path, signature=SERVING_DEFAULT)
        operators = contents.operators(path)
        calibration = self.samples.calibration if variant in USES_CALIBRATION else None
        rms, delegated = self._rms_error(file), delegation(path)
        requirements = requirements_of(path.read_bytes())
        first = self.model.default.cases[0]
        return VariantResult(
            variant=variant,
            path=path,
            size_bytes=path.stat().st_size,
            inputs=_ordered(model.inputs, first.inputs),
            outputs=_ordered(model.outputs, first.outputs),
            latency_ms=file.latency_ms,
            differences=tuple(self._differences(file)),
            rms_error=rms,
            operators=contents.count(operators),
            float_operators=contents.count(operators, only_float=True),
            delegation=delegated,
            float_ms=file.float_ms,
            calibration=calibration.to_json() if calibration else None,
            notes=(
                *self._notes(variant, float_layers), *unquantized_notes(variant, operators), *rms_notes(variant, rms),
                *leading_notes(file), *int8_notes(self._named(file.int8_layers)), *speed_notes(file, delegated),
                *runtime_notes(requirements),
            ),
            accuracy=accuracy["accuracy"],
            evaluation=accuracy.get("evaluation", {}),
            float_layers=float_layers,
            scales=model.scales,
            model_dtypes=self._model_dtypes(model.scales),
            pixels=self._pixels,
            signatures=self._additional_signatures(path),
            load_ms=load_ms(path) if records_times() else None,
            requirements=requirements,
        )

    def _notes(self, variant: TfliteVariant, float_layers: Sequence[str]) -> Iterator[str]:
        calibration = self.samples.calibration
        if variant in USES_CALIBRATION and calibration:
            yield from range_notes(self.model.exported, calibration)
            yield from calibration.warnings()
        if variant == "mix" and not float_layers:
            yield "the gate passes with every layer in int8: this file is the int8 variant"

    def _named(self, operators: Sequence[Sequence[str]]) -> tuple[str, ...]:
        return tuple(map(str, self._names.layers((tensor, name) for tensor, name in operators)))

    def _additional_signatures(self, path: Path) -> dict[str, dict[str, list[str]]]:
        signatures = {}
        first = self.model.default.cases[0]
        for name in [name for name in self.model.cases if name != SERVING_DEFAULT]:
            model = TfliteModel(path, signature=name)
            inputs, outputs = _ordered(model.inputs, first.inputs), _ordered(model.outputs, first.outputs)
            signatures[name] = {"inputs": [str(spec) for spec in inputs], "outputs": [str(spec) for spec in outputs]}
        return signatures

    def _rms_error(self, file: ConvertedFile) -> dict[str, float]:
        """Return the worst rms error of each float output that has PyTorch's shape."""
        worst: dict[str, float] = {}
        for case, outputs in zip(self.model.default.compared, file.outputs[SERVING_DEFAULT], strict=False):
            for name, want in case.outputs.items():
                if name in outputs and want.dtype.kind == "f" and want.shape == outputs[name].shape and want.size:
                    worst[name] = max(worst.get(name, 0.0), _rms(want, outputs[name]))
        return {name: value for name, value in worst.items() if np.isfinite(value)}

    def _differences(self, file: ConvertedFile) -> Iterator[tuple[str, Difference]]:
        for signature, cases in self.model.cases.items():
            prefix = "" if signature == SERVING_DEFAULT else f"{signature}/"
            for case, outputs in zip(cases.compared, file.outputs[signature], strict=False):
                for difference in differences(case.outputs, outputs):
                    yield f"{prefix}{case.name}", difference


def _ordered(specs: Sequence[TensorSpec], names: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    """Return the specs in the order of `names`: a TFLite signature is sorted by name."""
    by_name = {spec.name: spec for spec in specs}
    return tuple(by_name[name] for name in names if name in by_name)


def _rms(want: Array, got: Array) -> float:
    exact = want.astype(np.float64)
    error, size = np.linalg.norm(got - exact), np.linalg.norm(exact)
    return float(error / size) if size else float(error)

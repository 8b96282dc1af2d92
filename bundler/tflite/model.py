"""What all .tflite files of a model share: test calls, calibration samples, the SavedModel, and the accuracy evaluation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.adapters.samples import SampleFormat
from bundler.errors import TfbundleError
from bundler.tflite import exchange
from bundler.tflite.calibration import Calibration, read_calibration
from bundler.tflite.draws import SignatureCases, calibration_calls, run_references
from bundler.tflite.evaluate import Evaluation, FilePrediction, Predict
from bundler.tflite.exchange import ConvertedFile
from bundler.tflite.gate import Gate, GateFigures, agreement
from bundler.tflite.image_inputs import FileInputs
from bundler.tflite.layers import Names
from bundler.tflite.lowering import needs_per_tensor
from bundler.tflite.portable import PORTABLE, check_fits
from bundler.tflite.runner import TfliteModel
from bundler.tflite.runtimes import parse_target
from bundler.tflite.sizes import signature_sizes, static_shapes, static_sizes
from bundler.tflite.variants import write_signatures
from bundler.values.arrays import Array
from bundler.values.converted import SERVING_DEFAULT

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import TfliteSpec
    from bundler.values.converted import ConvertedModel
    from bundler.values.exported import ExportedSignature


@dataclass(frozen=True)
class CalibrationSamples:
    """Calibration data, or the reason why it cannot be used; neither if the spec names none."""

    calibration: Calibration | None = None
    problem: TfbundleError | None = None

    @classmethod
    def read(
        cls, exported: ExportedSignature, spec: TfliteSpec, sizes: Mapping[str, int], base: Path
    ) -> CalibrationSamples:
        """Read the spec's calibration data; an error becomes the `problem`."""
        if not spec.calibration:
            return cls()
        shapes = static_shapes(exported.signature, exported.examples, sizes)
        sample_format = SampleFormat(exported.signature, shapes)
        try:
            return cls(read_calibration(spec, sample_format, exported.examples, base=base))
        except TfbundleError as exc:
            return cls(problem=exc)


@dataclass(frozen=True)
class StaticModel:
    """A model lowered with the static shapes of its .tflite files.

    Attributes:
        spec: the model's `tflite` section.
        exported: serving_default, with PyTorch as the reference.
        file_inputs: converts PyTorch's inputs to those of the files.
        cases: the test calls, by signature of the files, serving_default first.
    """

    spec: TfliteSpec
    exported: ExportedSignature
    file_inputs: FileInputs
    cases: Mapping[str, SignatureCases]

    @classmethod
    def prepare(
        cls,
        converted: ConvertedModel,
        exported: ExportedSignature,
        spec: TfliteSpec,
        calibration: Calibration | None,
        file_inputs: FileInputs,
        work: Path,
        *,
        resizable: bool = False,
    ) -> StaticModel:
        """Run PyTorch on the test calls, and fill the work folder for the TFLite process.

        Args:
            converted: the converted model.
            exported: serving_default, with PyTorch as the reference.
            spec: the model's `tflite` section.
            calibration: the calibration data, if any.
            file_inputs: converts PyTorch's inputs to those of the files.
            work: the work folder.
            resizable: whether the files keep the dynamic sizes of the model's inputs; the calls are as without.
        """
        sizes = signature_sizes(exported.signature, exported.examples, spec)
        cases = {
            name: run_references(exported, own_sizes, calibration, file_inputs) for name, own_sizes in sizes.items()
        }
        shapes: dict[str, dict[str, tuple[int | None, ...]]] = {
            name: _shapes(signature_cases.cases[0].inputs) for name, signature_cases in cases.items()
        }
        if resizable:
            shapes = {SERVING_DEFAULT: {s.name: s.shape for s in converted.signatures[SERVING_DEFAULT].inputs}}
        functions = {name: file_inputs.static(converted, own_shapes) for name, own_shapes in shapes.items()}
        write_signatures(functions, exported.signature.input_names, work / "saved_model")
        cls._setup(spec, cases, file_inputs).write(work)
        for name, signature_cases in cases.items():
            exchange.save_calls(work / "draws" / name, (case.inputs for case in signature_cases.cases))
            if calibration:
                calls = calibration_calls(exported, sizes[name], calibration, file_inputs)
                exchange.save_calls(work / "samples" / name, calls)
        return cls(spec, exported, file_inputs, cases)

    @staticmethod
    def _setup(spec: TfliteSpec, cases: Mapping[str, SignatureCases], file_inputs: FileInputs) -> exchange.Setup:
        if spec.io == PORTABLE:
            for case in (case for signature_cases in cases.values() for case in signature_cases.cases):
                check_fits({**case.inputs, **case.outputs})
        dtypes = {name: array.dtype.name for name, array in cases[SERVING_DEFAULT].cases[0].outputs.items()}
        target = parse_target(spec.target_runtime) if spec.target_runtime else None
        per_tensor = target is not None and needs_per_tensor(target)
        image = file_inputs.image
        pixels = image.name if image and image.takes_pixels else None
        return exchange.Setup(tuple(cases), spec.integer_io, spec.select_tf_ops, spec.io, dtypes, per_tensor, pixels)

    @property
    def default(self) -> SignatureCases:
        """The test calls of serving_default."""
        return self.cases[SERVING_DEFAULT]


class Evaluator:
    """Measures the accuracy of each file, and runs the evaluate function on PyTorch once."""

    def __init__(self, exported: ExportedSignature, spec: TfliteSpec, model: StaticModel, base: Path) -> None:
        self._exported, self._spec, self._model, self._base = exported, spec, model, base
        self.last_seconds = 0.0
        """Duration of the evaluate function for the last file."""

    @cached_property
    def _function(self) -> Evaluation | None:
        if not self._spec.evaluate:
            return None
        sizes = static_sizes(self._exported.signature, self._exported.examples, self._spec)
        shapes = static_shapes(self._exported.signature, self._exported.examples, sizes)
        return Evaluation.of(self._spec.evaluate, SampleFormat(self._exported.signature, shapes), base=self._base)

    @cached_property
    def gate(self) -> Gate:
        """The gate, with PyTorch's metric.

        Raises:
            TfbundleError: the evaluate function does not exist or raises an error.
        """
        if self._function is None:
            return Gate(self._spec)
        predict = Predict(self._exported.signature, self._exported.reference)
        reference = self._function.measure(predict)
        return Gate(self._spec, self._spec.evaluate, reference, self._function.data_json(predict, self._base))

    def figures(self, file: ConvertedFile) -> GateFigures:
        """Measure a file's agreement with PyTorch, and its metric.

        Raises:
            TfbundleError: the evaluate function raises an error, or passes inputs that the file cannot take.
        """
        rows = self._model.default.representative
        references = [case.outputs for case in self._model.default.cases[rows]]
        agreeing = agreement(references, file.outputs[SERVING_DEFAULT][rows])
        if self._function is None:
            return GateFigures(agreeing, len(references), unhealthy=self._unhealthy(file))
        signature = self._exported.signature
        models = [TfliteModel(file.path, signature=name) for name in self._model.cases]
        predict = Predict(signature, FilePrediction(signature, models, self._model.file_inputs))
        start = time.perf_counter()
        metric = self._function.measure(predict)
        self.last_seconds = time.perf_counter() - start
        return GateFigures(agreeing, len(references), metric, self._unhealthy(file))

    def _unhealthy(self, file: ConvertedFile) -> dict[str, str]:
        """Return what is wrong within a file, by the names of layers."""
        if not file.unhealthy:
            return {}
        names = Names.read(self._exported.onnx)
        return {names.layers([(tensor, "")])[0].name: complaint for tensor, complaint in file.unhealthy.items()}

    def passes(self, file: ConvertedFile) -> bool:
        """Return whether a file passes the gate."""
        return self.gate.complaint(self.figures(file)) is None


def _shapes(arrays: Mapping[str, Array]) -> dict[str, tuple[int | None, ...]]:
    return {name: array.shape for name, array in arrays.items()}

"""What all .tflite files of a model have in common: its draws and samples, its SavedModel, and how accuracy is measured."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.adapters.samples import SampleFormat
from bundler.errors import TfbundleError
from bundler.tflite import calibration, exchange
from bundler.tflite.calibration import Calibration
from bundler.tflite.draws import AnsweredDraws, asked, calibration_calls
from bundler.tflite.evaluate import Evaluation, FileAnswers, Predict
from bundler.tflite.exchange import Made
from bundler.tflite.gate import Gate, GateFigures, agreement
from bundler.tflite.runner import TfliteModel
from bundler.tflite.sizes import signature_sizes, static_shapes, static_sizes
from bundler.tflite.variants import write_signatures
from bundler.values.arrays import Array
from bundler.values.converted import SERVING_DEFAULT

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import TfliteSpec
    from bundler.values.converted import ConvertedModel
    from bundler.values.exported import ExportedSignature



@dataclass(frozen=True)
class Samples:
    """Calibration data, or why there is none that can be used."""

    found: Calibration | None = None
    problem: TfbundleError | None = None

    @classmethod
    def read(cls, exported: ExportedSignature, spec: TfliteSpec, sizes: Mapping[str, int], base: Path) -> Samples:
        if not spec.calibration:
            return cls()
        shapes = static_shapes(exported.signature, exported.examples, sizes)
        layout = SampleFormat(exported.signature, shapes)
        try:
            return cls(calibration.of_spec(spec, layout, exported.examples, base=base))
        except TfbundleError as exc:
            return cls(problem=exc)


@dataclass(frozen=True)
class StaticModel:
    """What all files of a model have in common.

    Attributes:
        draws: by signature of the files, serving_default first.
    """

    spec: TfliteSpec
    exported: ExportedSignature
    permutations: Mapping[str, Sequence[int]]
    draws: Mapping[str, AnsweredDraws]

    @classmethod
    def of(
        cls,
        converted: ConvertedModel,
        exported: ExportedSignature,
        spec: TfliteSpec,
        samples: Calibration | None,
        work: Path,
    ) -> StaticModel:
        """Ask PyTorch, and fill the work folder for the TFLite process."""
        order = converted.permutations
        sizes = signature_sizes(exported.signature, exported.examples, spec)
        draws = {name: asked(exported, own, samples, order) for name, own in sizes.items()}
        shapes = {name: _shapes(found.every[0].served) for name, found in draws.items()}
        functions = {name: converted.static(own) for name, own in shapes.items()}
        write_signatures(functions, exported.signature.input_names, work / "saved_model")
        exchange.Setup(tuple(sizes), spec.io_type, spec.select_tf_ops).write(work)
        for name, found in draws.items():
            exchange.save_calls(work / "draws" / name, (draw.served for draw in found.every))
            if samples:
                exchange.save_calls(work / "samples" / name, calibration_calls(exported, sizes[name], samples, order))
        return cls(spec, exported, order, draws)

    @property
    def default(self) -> AnsweredDraws:
        return self.draws[SERVING_DEFAULT]


class Evaluated:
    """The evaluate function, asked about PyTorch once and about each file."""

    def __init__(self, exported: ExportedSignature, spec: TfliteSpec, model: StaticModel, base: Path) -> None:
        self._exported, self._spec, self._model, self._base = exported, spec, model, base
        self.seconds = 0.0
        """How long the function took for the last file."""

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
            TfbundleError: the evaluate function is not there or raises.
        """
        if self._function is None:
            return Gate(self._spec)
        predict = Predict(self._exported.signature, self._exported.reference)
        return Gate(self._spec, self._spec.evaluate, self._function.measure(predict))

    def figures(self, made: Made) -> GateFigures:
        """Agreement and metric of a file.

        Raises:
            TfbundleError: the evaluate function raises, or asks for what the file cannot answer.
        """
        real = self._model.default.real
        want = [draw.answer for draw in self._model.default.every[real]]
        agreeing = agreement(want, made.outputs[SERVING_DEFAULT][real])
        if self._function is None:
            return GateFigures(agreeing, len(want))
        signature = self._exported.signature
        models = [TfliteModel(made.path, signature=name) for name in self._model.draws]
        predict = Predict(signature, FileAnswers(signature, models, self._model.permutations))
        start = time.perf_counter()
        metric = self._function.measure(predict)
        self.seconds = time.perf_counter() - start
        return GateFigures(agreeing, len(want), metric)

    def passes(self, made: Made) -> bool:
        return self.gate.complaint(self.figures(made)) is None


def _shapes(arrays: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}

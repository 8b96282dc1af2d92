"""`--evaluate module:function`: the user's metric on real, labelled data, for PyTorch and for every variant.

The function is one of

1. `def accuracy(predict): …` returns a number, where higher is better. `predict` takes NumPy arrays by input name, as a dict or
   as keywords, in the PyTorch model's axis order and with any number of rows, and returns arrays by output name:
   `predict(image=images)["logits"]`. The function is called once for PyTorch and once for each file.
2. `def samples(): …` without parameters yields pairs of (inputs, label): the inputs as for `--calibration`, the label an integer
   or one integer per row. The metric is then the top-1 accuracy of the first float output whose last axis has two or more
   entries, or else of the first integer output.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bundler.adapters.samples import Sample, SampleFormat, batch_axis
from bundler.errors import UsageError
from bundler.tflite import user_function
from bundler.tflite.calibration import as_dict, function_items, samples_of_call
from bundler.tflite.image_inputs import FileInputs
from bundler.tflite.runner import TfliteModel
from bundler.values.arrays import Array
from bundler.values.digests import ArraysDigest, file_sha256
from serving.texts import plural

if TYPE_CHECKING:
    from bundler.values.signature import Signature, TensorSpec

Prediction = Callable[[dict[str, Array]], dict[str, Array]]

ROWS = 32
"""Number of labelled samples in one call of `predict`."""


class Predict:
    """The `predict` argument of an evaluate function: checks the inputs and returns the outputs."""

    def __init__(self, signature: Signature, prediction: Prediction) -> None:
        self._signature = signature
        self._prediction = prediction
        self.inputs = ArraysDigest()
        """The hash of the inputs of all calls."""

    def __call__(self, arrays: Mapping[str, Any] | None = None, /, **named: Any) -> dict[str, Array]:
        """Return the outputs by name.

        Args:
            arrays: the inputs by name.
            **named: the inputs as keywords.

        Raises:
            UsageError: an input is missing or unknown, or has another dtype or shape.
        """
        inputs = {name: np.asarray(array) for name, array in {**(arrays or {}), **named}.items()}
        expected = ", ".join(map(str, self._signature.inputs))
        if set(inputs) != set(self._signature.input_names):
            raise UsageError(
                f"predict was called with {', '.join(inputs) or 'no inputs'}.",
                fix=f"call predict with {expected}",
                code="TFB4101",
            )
        for spec in self._signature.inputs:
            array = inputs[spec.name]
            fits = array.ndim == len(spec.dims) and all(
                not isinstance(dim, int) or dim == size for dim, size in zip(spec.dims, array.shape, strict=True)
            )
            if array.dtype.name != spec.dtype or not fits:
                got = f"{spec.name}={array.dtype.name}{list(array.shape)}"
                raise UsageError(f"predict was called with {got}.", fix=f"call predict with {expected}", code="TFB4101")
        self.inputs.add(inputs)
        return self._prediction({name: inputs[name] for name in self._signature.input_names})


@dataclass(frozen=True)
class FilePrediction:
    """Runs a .tflite file on any number of rows, in PyTorch's axis order.

    Attributes:
        signature: PyTorch's signature.
        models: the file's signatures; the first one whose sizes fit is run.
        file_inputs: converts PyTorch's inputs to those of the file.
    """

    signature: Signature
    models: Sequence[TfliteModel]
    file_inputs: FileInputs = field(default_factory=FileInputs)

    def __call__(self, call: dict[str, Array]) -> dict[str, Array]:
        """Return the outputs by name.

        Raises:
            UsageError: no signature of the file has these sizes, or an output has no batch axis to join several calls on.
        """
        served = self.file_inputs.of(call)
        axes = {spec.name: self._served_axis(spec) for spec in self.signature.inputs}
        rows = next((served[name].shape[axis] for name, axis in axes.items() if axis is not None), 1)
        model, size = self._matching_model(served, axes, rows)
        dtypes = {spec.name: spec.dtype for spec in self.signature.outputs}
        parts: list[dict[str, Array]] = []
        for start in range(0, rows, size):
            indices = np.arange(start, start + size) % rows  # the last call is filled up with the first rows
            call_inputs = {name: _rows(array, indices, axes[name]) for name, array in served.items()}
            parts.append(self._first_rows(model.run_in_floats(call_inputs, dtypes), min(size, rows - start)))
        return {spec.name: self._joined(spec, [part[spec.name] for part in parts]) for spec in self.signature.outputs}

    def _served_axis(self, spec: TensorSpec) -> int | None:
        axis = batch_axis(spec)
        order = self.file_inputs.order(spec.name)
        return axis if axis is None or order is None else list(order).index(axis)

    def _matching_model(
        self, served: Mapping[str, Array], axes: Mapping[str, int | None], rows: int
    ) -> tuple[TfliteModel, int]:
        """Return the signature that takes these sizes, and its number of rows per call: up to `ROWS`, if it takes any."""
        for model in self.models:
            if all(_same_except_axis(axes[spec.name], spec.shape, served[spec.name].shape) for spec in model.inputs):
                sizes = [spec.shape[axis] for spec in model.inputs if (axis := axes[spec.name]) is not None]
                return model, int(sizes[0] or min(max(rows, 1), ROWS)) if sizes else 1
        got = ", ".join(f"{name}{list(array.shape)}" for name, array in served.items())
        expected = " or ".join(", ".join(map(str, model.inputs)) for model in self.models)
        raise UsageError(
            f"predict was called with {got}, but the TFLite file takes {expected}.",
            fix="resize the data, or set tflite.dims and tflite.shapes in bundle.yaml",
            code="TFB4101",
        )

    def _first_rows(self, outputs: Mapping[str, Array], rows: int) -> dict[str, Array]:
        axes = {spec.name: batch_axis(spec) for spec in self.signature.outputs}
        return {name: _rows(array, np.arange(rows), axes.get(name)) for name, array in outputs.items()}

    def _joined(self, spec: TensorSpec, parts: Sequence[Array]) -> Array:
        axis = batch_axis(spec)
        if axis is not None:
            return np.concatenate(parts, axis)
        if len(parts) > 1:
            raise UsageError(
                "predict was called with more rows than the TFLite file takes, "
                f"and the output {spec} has no batch axis to join them on.",
                fix="call predict with one row at a time",
                code="TFB4101",
            )
        return parts[0]


@dataclass(frozen=True)
class Evaluation:
    """An evaluate function.

    Attributes:
        text: the value of `--evaluate`.
        function: the function.
        sample_format: the format of a labelled sample.
        outputs: the model's outputs.
    """

    text: str
    function: Any
    sample_format: SampleFormat
    outputs: Sequence[TensorSpec] = field(default=())

    @classmethod
    def of(cls, text: str, sample_format: SampleFormat, *, base: Path) -> Evaluation:
        """Import the function.

        Args:
            text: the value of `--evaluate`.
            sample_format: the format of a sample.
            base: folder that a relative file starts from.

        Raises:
            UsageError, SourceError: see `user_function.find`.
        """
        function = user_function.find(text, base, what="evaluate")
        signature = sample_format.signature
        return cls(text, function, SampleFormat(signature, sample_format.shapes, "Evaluation"), signature.outputs)

    def measure(self, predict: Predict) -> float:
        """Return the metric of a prediction function.

        Raises:
            UsageError: the metric is not a finite number, or a sample is invalid or has no label; the message names it.
            SourceError: the function raised an error; the message shows its line.
        """
        from bundler.sources.user_code import user_code

        if not self._takes_predict:
            return self._accuracy(predict)
        with user_code(f"The evaluate function {self.text} raised"):
            value = self.function(predict)
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise UsageError(
                f"The evaluate function {self.text} returned {value!r}, which is not a finite number.",
                fix="return one number for which higher is better, such as an accuracy",
                code="TFB4101",
            )
        return number

    def data_json(self, predict: Predict, base: Path) -> dict[str, Any]:
        """Return what bundle.json says about the evaluation data: hashes of the inputs, and of the function's .py file.

        Args:
            predict: what `measure` was called with; its calls are the data that the metric was measured on.
            base: folder that a relative file starts from.
        """
        code = user_function.code_file(self.text, base)
        hashes = {"files": 1, "files_sha256": file_sha256(code)} if code else {}
        return {"calls": predict.inputs.calls, "inputs_sha256": predict.inputs.hexdigest(), **hashes}

    @property
    def _takes_predict(self) -> bool:
        return bool(inspect.signature(self.function).parameters)

    def _accuracy(self, predict: Predict) -> float:
        correct: list[bool] = []
        for start in range(0, len(self._labelled), ROWS):
            group = self._labelled[start : start + ROWS]
            outputs = predict(self.sample_format.stacked([sample.arrays for sample, _ in group]))
            correct += [np.array_equal(got, label) for got, (_, label) in zip(self._top1(outputs), group, strict=True)]
        return float(np.mean(correct))

    def _top1(self, outputs: Mapping[str, Array]) -> Array:
        floats = [s.name for s in self.outputs if outputs[s.name].dtype.kind == "f" and outputs[s.name].shape[-1:] > (1,)]
        if floats:
            return np.asarray(outputs[floats[0]].argmax(-1))
        integers = [spec.name for spec in self.outputs if outputs[spec.name].dtype.kind in "iu"]
        if not integers:
            raise UsageError(
                f"{self.text} yields labels, but the model has no output of classes.",
                fix="write an evaluate function that takes predict and returns a metric",
                code="TFB4101",
            )
        return outputs[integers[0]]

    @cached_property
    def _labelled(self) -> list[tuple[Sample, Array]]:
        items = enumerate(function_items(self.text, self.function, "evaluate"))
        pairs = [pair for index, item in items for pair in self._pairs(index, item)]
        if not pairs:
            raise UsageError(
                f"The evaluate function {self.text} yields no samples.",
                fix="yield pairs of (inputs, label)",
                code="TFB4101",
            )
        return pairs

    def _pairs(self, index: int, item: Any) -> Iterator[tuple[Sample, Array]]:
        where = f"{self.text} item {index}"
        if not isinstance(item, tuple | list) or len(item) != 2 or item[1] is None:
            raise UsageError(
                f"Evaluation sample {where} has no label.", fix="yield pairs of (inputs, label)", code="TFB4101"
            )
        samples = samples_of_call(where, as_dict(item[0], self.sample_format, where), self.sample_format)
        labels = np.asarray(item[1])
        rows = [labels] if len(samples) == 1 and labels.ndim == 0 else list(labels) if labels.ndim else []
        if len(rows) != len(samples) or labels.dtype.kind not in "iub":
            raise UsageError(
                f"Evaluation sample {where} has {plural(len(samples), 'row')} but the labels "
                f"{labels.tolist()!r:.60}.",
                fix="give one integer label per row",
                code="TFB4101",
            )
        yield from zip(samples, rows, strict=True)


def _rows(array: Array, indices: Array, axis: int | None) -> Array:
    return array if axis is None else np.take(array, indices, axis=axis)


def _same_except_axis(axis: int | None, want: Sequence[int | None], got: Sequence[int]) -> bool:
    pairs = enumerate(zip(want, got, strict=True))
    return all(expected in (None, actual) for index, (expected, actual) in pairs if index != axis)

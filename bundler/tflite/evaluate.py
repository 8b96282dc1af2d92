"""`--evaluate module:function`: a metric of the user's on real, labelled data, for PyTorch and for every variant.

The function is one of

1. `def accuracy(predict): …` returns a number, higher is better. `predict` takes NumPy arrays by input name, as a dict
   or as keywords, in the PyTorch model's order of axes and with any number of rows, and returns arrays by output name:
   `predict(image=images)["logits"]`. It is called once for PyTorch and once for each file.
2. `def samples(): …` without parameters yields pairs of (inputs, label): the inputs as for `--calibration`, the label an
   integer, or one a row. The metric is then the share of right top-1 answers: of the first float output with a last
   axis of two or more, else of the first integer output.
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

from bundler.adapters.samples import Sample, SampleFormat
from bundler.errors import UsageError
from bundler.tflite import user_function
from bundler.tflite.calibration import as_dict, called, of_call
from bundler.tflite.runner import TfliteModel
from bundler.values import input_draws
from bundler.values.arrays import Array
from bundler.values.reference import to_served

if TYPE_CHECKING:
    from bundler.values.signature import Signature, TensorSpec

Answer = Callable[[dict[str, Array]], dict[str, Array]]

ROWS = 32
"""Labelled samples in one call of `predict`."""


class Predict:
    """What an evaluate function calls: checked inputs in, outputs by name out."""

    def __init__(self, signature: Signature, answer: Answer) -> None:
        self._signature = signature
        self._answer = answer

    def __call__(self, arrays: Mapping[str, Any] | None = None, /, **named: Any) -> dict[str, Array]:
        """Outputs by name.

        Raises:
            UsageError: an input is missing, unknown, or of another dtype or shape.
        """
        given = {name: np.asarray(array) for name, array in {**(arrays or {}), **named}.items()}
        takes = ", ".join(map(str, self._signature.inputs))
        if set(given) != set(self._signature.input_names):
            raise UsageError(f"predict got {', '.join(given) or 'nothing'}.", fix=f"the model takes {takes}")
        for spec in self._signature.inputs:
            array = given[spec.name]
            fits = array.ndim == len(spec.dims) and all(
                not isinstance(dim, int) or dim == size for dim, size in zip(spec.dims, array.shape, strict=True)
            )
            if array.dtype.name != spec.dtype or not fits:
                got = f"{spec.name}={array.dtype.name}{list(array.shape)}"
                raise UsageError(f"predict got {got}.", fix=f"the model takes {takes}")
        return self._answer({name: given[name] for name in self._signature.input_names})


@dataclass(frozen=True)
class FileAnswers:
    """Answers of a .tflite file to any number of rows, in PyTorch's order of axes.

    Args:
        models: the file's signatures; the one whose sizes fit is asked.
        permutations: `ConvertedModel.permutations`.
    """

    signature: Signature
    models: Sequence[TfliteModel]
    permutations: Mapping[str, Sequence[int]]

    def __call__(self, call: dict[str, Array]) -> dict[str, Array]:
        """Outputs by name.

        Raises:
            UsageError: no signature of the file has these sizes, or the rows of an output cannot be told apart.
        """
        served = to_served(call, self.permutations)
        axes = {spec.name: self._served_axis(spec) for spec in self.signature.inputs}
        rows = next((served[name].shape[axis] for name, axis in axes.items() if axis is not None), 1)
        model, size = self._fitting(served, axes)
        parts: list[dict[str, Array]] = []
        for start in range(0, rows, size):
            chosen = np.arange(start, start + size) % rows  # the last call is filled up from the start
            part = {name: _rows(array, chosen, axes[name]) for name, array in served.items()}
            parts.append(self._real_rows(model.in_floats(part), min(size, rows - start)))
        return {spec.name: self._joined(spec, [part[spec.name] for part in parts]) for spec in self.signature.outputs}

    def _served_axis(self, spec: TensorSpec) -> int | None:
        axis = _batch_axis(spec)
        order = self.permutations.get(spec.name)
        return axis if axis is None or order is None else list(order).index(axis)

    def _fitting(self, served: Mapping[str, Array], axes: Mapping[str, int | None]) -> tuple[TfliteModel, int]:
        """The signature that takes these sizes, and how many rows a call of it has."""
        for model in self.models:
            if all(_same_but(axes[spec.name], spec.shape, served[spec.name].shape) for spec in model.inputs):
                sizes = [spec.shape[axis] for spec in model.inputs if (axis := axes[spec.name]) is not None]
                return model, int(sizes[0] or 1) if sizes else 1
        got = ", ".join(f"{name}{list(array.shape)}" for name, array in served.items())
        takes = " or ".join(", ".join(map(str, model.inputs)) for model in self.models)
        raise UsageError(
            f"predict got {got}; the TFLite file takes {takes}.",
            fix="bring the data to these sizes, or set tflite.dims and tflite.shapes in bundle.yaml",
        )

    def _real_rows(self, outputs: Mapping[str, Array], rows: int) -> dict[str, Array]:
        axes = {spec.name: _batch_axis(spec) for spec in self.signature.outputs}
        return {name: _rows(array, np.arange(rows), axes.get(name)) for name, array in outputs.items()}

    def _joined(self, spec: TensorSpec, parts: Sequence[Array]) -> Array:
        axis = _batch_axis(spec)
        if axis is not None:
            return np.concatenate(parts, axis)
        if len(parts) > 1:
            raise UsageError(
                f"predict got more rows than the TFLite file takes, and the output {spec} has no batch axis to join them.",
                fix="call predict with one row at a time",
            )
        return parts[0]


@dataclass(frozen=True)
class Evaluation:
    """A metric to measure by.

    Args:
        text: what stands after `--evaluate`.
        layout: what a labelled sample looks like.
    """

    text: str
    function: Any
    layout: SampleFormat
    outputs: Sequence[TensorSpec] = field(default=())

    @classmethod
    def of(cls, text: str, layout: SampleFormat, *, base: Path) -> Evaluation:
        """Find the function.

        Raises:
            UsageError, SourceError: see `user_function.find`.
        """
        function = user_function.find(text, base, what="evaluate")
        return cls(text, function, SampleFormat(layout.signature, layout.shapes, "Evaluation"), layout.signature.outputs)

    def measure(self, predict: Predict) -> float:
        """The metric of one way to answer.

        Raises:
            UsageError: it is no finite number, a sample cannot be used, or has no label; the message names it.
            SourceError: the function raised; with its line.
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
                f"The evaluate function {self.text} gave {value!r}, which is no finite number.",
                fix="return one number of which more is better, such as an accuracy",
            )
        return number

    @property
    def _takes_predict(self) -> bool:
        return bool(inspect.signature(self.function).parameters)

    def _accuracy(self, predict: Predict) -> float:
        right: list[bool] = []
        for start in range(0, len(self._labelled), ROWS):
            group = self._labelled[start : start + ROWS]
            answers = predict(self.layout.stacked([sample.arrays for sample, _ in group]))
            right += [np.array_equal(got, label) for got, (_, label) in zip(self._top1(answers), group, strict=True)]
        return float(np.mean(right))

    def _top1(self, answers: Mapping[str, Array]) -> Array:
        floats = [s.name for s in self.outputs if answers[s.name].dtype.kind == "f" and answers[s.name].shape[-1:] > (1,)]
        if floats:
            return np.asarray(answers[floats[0]].argmax(-1))
        whole = [spec.name for spec in self.outputs if answers[spec.name].dtype.kind in "iu"]
        if not whole:
            raise UsageError(
                f"{self.text} gives labels, and the model has no output of classes.",
                fix="write an evaluate function with a parameter: it gets predict and returns a metric",
            )
        return answers[whole[0]]

    @cached_property
    def _labelled(self) -> list[tuple[Sample, Array]]:
        items = enumerate(called(self.text, self.function, "evaluate"))
        pairs = [pair for index, item in items for pair in self._pairs(index, item)]
        if not pairs:
            raise UsageError(f"The evaluate function {self.text} yields no sample.", fix="let it yield (inputs, label)")
        return pairs

    def _pairs(self, index: int, item: Any) -> Iterator[tuple[Sample, Array]]:
        where = f"{self.text} item {index}"
        if not isinstance(item, tuple | list) or len(item) != 2 or item[1] is None:
            raise UsageError(f"Evaluation sample {where} has no label.", fix="yield pairs of (inputs, label)")
        samples = of_call(where, as_dict(item[0], self.layout, where), self.layout)
        labels = np.asarray(item[1])
        rows = [labels] if len(samples) == 1 and labels.ndim == 0 else list(labels) if labels.ndim else []
        if len(rows) != len(samples) or labels.dtype.kind not in "iub":
            raise UsageError(
                f"Evaluation sample {where} has {len(samples)} row(s) and the labels {labels.tolist()!r:.60}.",
                fix="give one integer label a row",
            )
        yield from zip(samples, rows, strict=True)


def _batch_axis(spec: TensorSpec) -> int | None:
    return next((axis for axis, dim in enumerate(spec.dims) if input_draws.is_batch(dim)), None)


def _rows(array: Array, chosen: Array, axis: int | None) -> Array:
    return array if axis is None else np.take(array, chosen, axis=axis)


def _same_but(axis: int | None, want: Sequence[int | None], got: Sequence[int]) -> bool:
    pairs = enumerate(zip(want, got, strict=True))
    return all(wanted == given for place, (wanted, given) in pairs if place != axis)

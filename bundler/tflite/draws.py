"""The calls that every .tflite file of a model is tested with, and PyTorch's outputs for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from bundler.errors import TfbundleError, UsageError
from bundler.values import input_draws
from bundler.values.arrays import Array
from bundler.values.reference import REFUSALS, Case

if TYPE_CHECKING:
    from bundler.tflite.calibration import Calibration
    from bundler.tflite.image_inputs import FileInputs
    from bundler.values.exported import ExportedSignature


COMPARED = 4
"""Number of calibration calls that are compared element by element, besides the example and a random draw."""
AGREEING = 16
"""Number of calibration calls over which agreement with PyTorch is measured."""
_CALIBRATION = "calibration-"


@dataclass(frozen=True)
class SignatureCases:
    """The calls of one signature of the files, with inputs as the files take them and PyTorch's outputs."""

    cases: tuple[Case, ...]

    @property
    def compared(self) -> Sequence[Case]:
        """The cases that are compared element by element."""
        return self.cases[: 2 + COMPARED]

    @property
    def representative(self) -> slice:
        """The cases that represent real data: the calibration samples if there are any, else all."""
        return slice(2 if any(case.name.startswith(_CALIBRATION) for case in self.cases) else 0, None)


def run_references(
    exported: ExportedSignature,
    sizes: Mapping[str, int],
    calibration: Calibration | None,
    file_inputs: FileInputs,
) -> SignatureCases:
    """Run PyTorch on the example fitted to the file's sizes, a random draw, and the first calibration calls.

    Args:
        exported: the signature, with PyTorch as the reference.
        sizes: the file's size of each dynamic dim.
        calibration: the calibration data, if any.
        file_inputs: converts PyTorch's inputs to those of the files.

    Raises:
        UsageError: PyTorch rejects these sizes.
    """
    signature, examples = exported.signature, exported.examples
    calls: list[tuple[str, dict[str, Array]]] = [
        ("example", input_draws.fit(signature, examples, sizes)),
        ("random", input_draws.resample(signature, examples, sizes, np.random.default_rng(0))),
    ]
    fitted = _fitted_calls(exported, sizes, calibration, AGREEING)
    calls += [(f"{_CALIBRATION}{i}", call) for i, call in enumerate(fitted)]
    return SignatureCases(tuple(_run_reference(exported, name, call, file_inputs) for name, call in calls))


def calibration_calls(
    exported: ExportedSignature,
    sizes: Mapping[str, int],
    calibration: Calibration,
    file_inputs: FileInputs,
) -> Iterator[dict[str, Array]]:
    """Yield all calibration calls as the files take them, fitted to the sizes of a signature."""
    for call in _fitted_calls(exported, sizes, calibration, None):
        yield file_inputs.of(call)


def _fitted_calls(
    exported: ExportedSignature, sizes: Mapping[str, int], calibration: Calibration | None, limit: int | None
) -> Iterator[dict[str, Array]]:
    for call in islice(calibration.calls(), limit) if calibration else ():
        yield input_draws.fit(exported.signature, call, sizes)


def _run_reference(
    exported: ExportedSignature, name: str, call: dict[str, Array], file_inputs: FileInputs
) -> Case:
    try:
        outputs = exported.reference(call)
    except REFUSALS as exc:
        if isinstance(exc, TfbundleError):
            raise
        shapes = ", ".join(f"{name}{list(array.shape)}" for name, array in call.items())
        raise UsageError(
            f"PyTorch rejects the sizes of the TFLite files ({shapes}): {exc}",
            fix="set tflite.batch and tflite.dims in bundle.yaml to sizes that the model accepts",
            code="TFB4005",
        ) from exc
    return Case(name, file_inputs.of(call), outputs)

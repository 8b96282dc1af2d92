"""The tolerance of the parity check: the user's, or one that fits the dtype in which the model computes.

1. The dtype of a model is the coarsest float type that a node of its graph computes in (`bundler.graph.compute_dtype`). Nodes
   that only move values do not count, nor do weights that are stored in half precision and widened before use.
2. Each dtype has a base tolerance (`BASE`). That of float64 allows for ONNX's attributes, which are float32, such as the epsilon
   of a LayerNorm: a ViT differs by 3e-9. For float16 and bfloat16 it is FEW steps of the type, a step being the distance from
   1 to the next number: runtimes that round at different places differ by that much after a handful of layers.
3. In a deep half-precision model rounding adds up, in PyTorch itself as well. So PyTorch runs the same inputs in float32 too, and
   the distance of its half-precision outputs from these is measured. Another implementation may be three times as far from
   float32, because weights that absorb a BatchNorm are rounded again (DenseNet-121 in float16: 2.3 times). So the two may differ
   by four times the distance, which is the tolerance if it exceeds the base, up to LIMIT.

The errors are relative as in `serving.golden.compare`. Integers, booleans and strings are always compared exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bundler.values.exported import InFloat32
from bundler.values.reference import REFUSALS
from serving.golden.compare import compare

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bundler.values.arrays import Array
    from bundler.values.reference import ReferenceOutputs

FEW = 4
_SPREAD = 4
_STEPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
BASE = {"float64": 1e-7, "float32": 1e-4, **{dtype: FEW * step for dtype, step in _STEPS.items()}}
LIMIT = 0.25
"""The largest tolerance that is chosen without the user: beyond it, the outputs of a half-precision model prove nothing."""


@dataclass(frozen=True)
class Tolerance:
    """The largest relative error that passes, and where it comes from.

    Attributes:
        value: the relative error.
        basis: the reason for the value, as the end of a sentence about it.
        dtype: the dtype in which the model computes.
        rounding: the largest relative error of PyTorch's half-precision outputs against float32; None if not measured.
    """

    value: float
    basis: str
    dtype: str
    rounding: float | None = None

    @property
    def margin(self) -> float:
        """The relative change that a score must survive without changing a class label that parity compares.

        Errors in float32 are far below the tolerance, those in half precision near it.
        """
        return self.value if self.dtype in _STEPS else self.value / 10


def choose_tolerance(requested: float | None, references: Sequence[ReferenceOutputs]) -> Tolerance:
    """Return the requested tolerance, or the one that fits the dtype in which the signatures compute.

    Args:
        requested: the user's tolerance; None: by dtype.
        references: PyTorch's outputs for the signatures.
    """
    from bundler.graph.compute_dtype import compute_dtype

    order = list(reversed(BASE))
    dtype = min(
        (compute_dtype(reference.exported.onnx) for reference in references), key=order.index, default="float32"
    )
    if requested is not None:
        return Tolerance(requested, "as requested", dtype)
    base = BASE[dtype]
    if dtype not in _STEPS:
        return Tolerance(base, dtype, dtype)
    rule = f"{dtype}: {FEW} steps of 2^{int(math.log2(_STEPS[dtype]))}"
    errors = [rounding_error(reference) for reference in references]
    measured = [error for error in errors if error is not None]
    if not measured:
        return Tolerance(base, f"{rule}; the model could not be run in float32 for comparison", dtype)
    rounding = max(measured)
    known = f"PyTorch's {dtype} outputs differ from its float32 outputs by {rounding:.2g}"
    if _SPREAD * rounding <= base:
        return Tolerance(base, f"{rule}; {known}", dtype, rounding)
    if _SPREAD * rounding <= LIMIT:
        return Tolerance(_SPREAD * rounding, f"{dtype}: {_SPREAD} times its rounding, as {known}", dtype, rounding)
    return Tolerance(LIMIT, f"{dtype}: the largest that is chosen automatically, although {known}", dtype, rounding)


def rounding_error(reference: ReferenceOutputs) -> float | None:
    """Return the largest relative error of the half-precision outputs of a signature against the same model in float32.

    None if the reference cannot run in float32, or no output can be compared. Outputs that overflow in half precision, and
    integers, are left out.
    """
    runner: object = reference.exported.reference
    if not isinstance(runner, InFloat32):
        return None
    errors: list[float] = []
    for case in reference.cases:
        try:
            exact = runner.in_float32(case.inputs)
        except REFUSALS:
            return None
        errors += _errors(exact, case.outputs)
    return max(errors, default=None)


def _errors(exact: Mapping[str, Array], outputs: Mapping[str, Array]) -> list[float]:
    pairs = [
        (exact[name].astype(np.float32), got.astype(np.float32)) for name, got in outputs.items() if _is_float(got)
    ]
    found = [compare("", want, got) for want, got in pairs]
    return [difference.max_rel for difference in found if difference.problem is None]


def _is_float(array: Array) -> bool:
    return array.dtype.name in BASE

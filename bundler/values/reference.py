"""Reference outputs: PyTorch's outputs for the draws of a signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bundler.errors import TfbundleError
from bundler.values.arrays import Array

if TYPE_CHECKING:
    from bundler.values.exported import ExportedSignature

REFUSALS = (RuntimeError, ValueError, TypeError, LookupError, AssertionError, ArithmeticError, TfbundleError)
"""The errors that a model raises for a size that it does not support (a position without embedding, a failing reshape)."""


@dataclass(frozen=True)
class Case:
    """The inputs of one draw, in PyTorch's order of axes unless its owner serves them in another, and PyTorch's outputs."""

    name: str
    inputs: dict[str, Array]
    outputs: dict[str, Array]


@dataclass(frozen=True)
class ReferenceOutputs:
    """PyTorch's outputs for one signature.

    Attributes:
        left_out: the draws that PyTorch itself refuses, each with the reason.
        served: whether the inputs have the served order of axes already, as in the signatures of `bundler.adapters`.
    """

    exported: ExportedSignature
    cases: tuple[Case, ...]
    left_out: tuple[str, ...] = ()
    served: bool = False

    def to_served(self, arrays: Mapping[str, Array], permutations: Mapping[str, Sequence[int]]) -> dict[str, Array]:
        """Return the inputs of a case in the served order of axes."""
        return dict(arrays) if self.served else to_served(arrays, permutations)


def to_served(arrays: Mapping[str, Array], permutations: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    """Return PyTorch's inputs in the served order of axes, which is another one only with layout nhwc."""
    return {
        name: np.ascontiguousarray(np.transpose(array, permutations[name])) if name in permutations else array
        for name, array in arrays.items()
    }

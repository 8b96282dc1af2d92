"""Reference outputs: what PyTorch answered to the draws of a signature."""

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
"""What a model raises for a size it cannot take (a position without embedding, a reshape that fails)."""


@dataclass(frozen=True)
class Case:
    """One draw and what PyTorch answered, both in PyTorch's layout."""

    name: str
    inputs: dict[str, Array]
    outputs: dict[str, Array]


@dataclass(frozen=True)
class ReferenceOutputs:
    """PyTorch's answers for one signature.

    Attributes:
        left_out: draws that PyTorch itself refuses, each with its reason.
        served: the inputs stand in the served order of axes already: the signature is one of `bundler.adapters`.
    """

    exported: ExportedSignature
    cases: tuple[Case, ...]
    left_out: tuple[str, ...] = ()
    served: bool = False

    def to_served(self, arrays: Mapping[str, Array], permutations: Mapping[str, Sequence[int]]) -> dict[str, Array]:
        """Inputs of a case in the order of axes that is served."""
        return dict(arrays) if self.served else to_served(arrays, permutations)


def to_served(arrays: Mapping[str, Array], permutations: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    """PyTorch's inputs in the order of axes that is served (another one only with layout nhwc)."""
    return {
        name: np.ascontiguousarray(np.transpose(array, permutations[name])) if name in permutations else array
        for name, array in arrays.items()
    }

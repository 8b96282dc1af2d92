"""One signature of a model as an ONNX file, with the function that answers as PyTorch does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from bundler.values.arrays import Array
from bundler.values.signature import Signature

ReferenceFn = Callable[[Mapping[str, Array]], dict[str, Array]]


@runtime_checkable
class Offloadable(Protocol):
    """A reference that can do without its memory until it is called again."""

    def park(self, folder: Path) -> None:
        """Let go of the weights; what has to be written goes into `folder`, which may be deleted afterwards."""


@dataclass(frozen=True)
class ExportedSignature:
    """One signature of a model, as ONNX.

    Attributes:
        name: `serving_default` or the spec's name.
        onnx: the file, in the work folder; weights of 1.5 GB and more lie in `<file>.data` beside it.
        signature: the model's own names, order, dtypes and dims.
        examples: example inputs; 2 or more in every dynamic dim.
        reference: PyTorch in eval mode without gradients (ONNX Runtime for an ONNX file).
    """

    name: str
    onnx: Path
    signature: Signature
    examples: dict[str, Array]
    reference: ReferenceFn

"""One signature of a model as an ONNX file, with the function that computes its reference outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from bundler.values.arrays import Array
from bundler.values.signature import Signature

ReferenceFn = Callable[[Mapping[str, Array]], dict[str, Array]]
"""Arrays by input name to arrays by output name."""


@runtime_checkable
class Offloadable(Protocol):
    """A reference whose weights can leave the memory until it is called again."""

    def offload_weights(self, folder: Path) -> None:
        """Free the memory of the weights. `folder` is for temporary files and may be deleted afterwards."""


@runtime_checkable
class InFloat32(Protocol):
    """A reference of a half-precision model that can also compute in float32."""

    def in_float32(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs for the same inputs without rounding to half precision in between."""


@dataclass(frozen=True)
class Referee:
    """What computes the reference outputs of a model, which decide whether the artifacts are right.

    Attributes:
        name: such as "PyTorch", or for an ONNX file "ONNX Runtime".
        reason: why it has to stand in for ONNX Runtime; None if it does not.
    """

    name: str
    reason: str | None = None


PYTORCH = Referee("PyTorch")


@dataclass(frozen=True)
class ExportedSignature:
    """One signature of a model, as ONNX.

    Attributes:
        name: `serving_default` or the spec's name.
        onnx: the file, in the work folder; weights of 1.5 GB and more are in `<file>.data` beside it.
        signature: the model's own names, order, dtypes and dims.
        examples: example inputs; every dynamic dim has a size of 2 or more.
        reference: PyTorch in eval mode without gradients (ONNX Runtime for an ONNX file).
        referee: what `reference` runs.
    """

    name: str
    onnx: Path
    signature: Signature
    examples: dict[str, Array]
    reference: ReferenceFn
    referee: Referee = PYTORCH

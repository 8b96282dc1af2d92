"""What an edge is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bundler.errors import UsageError
from bundler.values.arrays import Array
from bundler.values.input_draws import is_batch
from bundler.values.signature import TensorSpec

BATCH = "batch"


@dataclass(frozen=True)
class AdapterCall:
    """Arrays at an edge of a signature, in the served order of axes, and what reaches the model of them.

    Attributes:
        given: arrays by name, as the outermost edge takes them.
        behind: arrays by name, as the signature behind all edges takes them.
    """

    name: str
    given: Mapping[str, Array]
    behind: Mapping[str, Array]


class InputAdapter(Protocol):
    """Makes the inputs of what is behind it, in the graph."""

    inputs: tuple[TensorSpec, ...]
    """What it takes."""

    resources: tuple[Any, ...]
    """TensorFlow's tables and files that go into the SavedModel with it."""

    def __call__(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Tensors of `inputs` -> tensors of what is behind. Runs while a function is traced, and eagerly."""

    def calls(self, behind: Sequence[AdapterCall]) -> list[AdapterCall]:
        """For calls of what is behind, calls of this edge.

        Raises:
            ParityError: the edge's own graph does not make what it has to.
        """


class OutputAdapter(Protocol):
    """Makes a signature's outputs of those behind it."""

    outputs: tuple[TensorSpec, ...]
    method: str
    """Method name in the SignatureDef (tensorflow/cc/saved_model/signature_constants.h)."""

    def __call__(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """In TensorFlow."""

    def reference(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """The same in NumPy, for PyTorch's answers."""

    def decided(self, outputs: Mapping[str, Array], tolerance: float) -> Array:
        """Bool [rows]: of which rows no difference of a tenth of the tolerance changes a string of the answer."""


def check_batched(name: str, specs: Sequence[TensorSpec], what: str) -> None:
    """Refuse a signature whose inputs or outputs do not have a batch as their first dim.

    Raises:
        UsageError: naming the tensor.
    """
    for spec in specs:
        if not spec.dims or not (is_batch(spec.dims[0]) or spec.dims[0] is None):
            raise UsageError(
                f"The signature {name!r} takes one string a row, and the model's {what} {spec} has no dynamic batch first.",
                fix=f"declare it with a batch, e.g. --input '{spec.name}={spec.dtype}[{_with_batch(spec)}]'",
            )


def _with_batch(spec: TensorSpec) -> str:
    return ",".join([BATCH, *("?" if dim is None else str(dim) for dim in spec.dims[1:])])


def rows_of(call: AdapterCall) -> int:
    """Size of the batch of a call."""
    return max((array.shape[0] for array in call.given.values() if array.ndim), default=0)


def byte_strings(values: Sequence[bytes]) -> Array:
    """An object array, which keeps zero bytes at the end."""
    array = np.empty(len(values), np.object_)
    array[:] = list(values)
    return array

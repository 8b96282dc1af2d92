"""The interfaces of input and output adapters, and helpers that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bundler.errors import UsageError
from bundler.values.arrays import Array
from bundler.values.input_draws import is_batch
from bundler.values.signature import TensorSpec
from serving.texts import shell_command

BATCH = "batch"


@dataclass(frozen=True)
class AdapterCall:
    """A test call of a derived signature, in the served axis order.

    Attributes:
        name: name of the draw that the call was built from.
        inputs: arrays by input name, as the outermost adapter takes them.
        base_inputs: the equivalent arrays by input name, as the base signature takes them.
    """

    name: str
    inputs: Mapping[str, Array]
    base_inputs: Mapping[str, Array]


class InputAdapter(Protocol):
    """Converts its own inputs into the inputs of the signature that it wraps, in the graph."""

    inputs: tuple[TensorSpec, ...]
    """The inputs that the adapter takes."""

    resources: tuple[Any, ...]
    """TensorFlow tables and asset files to save with the SavedModel."""

    def __call__(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Convert tensors of `inputs` into inputs of the wrapped signature. Works eagerly and while a function is traced."""

    def calls(self, base_calls: Sequence[AdapterCall]) -> list[AdapterCall]:
        """Build this adapter's test calls from the calls of the signature that it wraps.

        Args:
            base_calls: calls in the wrapped signature's format.

        Returns:
            Equivalent calls in this adapter's input format.

        Raises:
            ParityError: the adapter's graph differs from its reference implementation.
        """


class OutputAdapter(Protocol):
    """Converts the outputs of a base signature into the outputs of a derived signature."""

    outputs: tuple[TensorSpec, ...]
    method: str
    """Method name in the SignatureDef (tensorflow/cc/saved_model/signature_constants.h)."""

    def __call__(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Convert the outputs in TensorFlow."""

    def reference(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """Convert PyTorch's outputs in NumPy."""

    def stable_rows(self, outputs: Mapping[str, Array], margin: float) -> Array:
        """Return a boolean mask of shape [rows].

        A row is True if perturbing its scores by `margin`, relative to the largest score, cannot change a returned class label;
        other rows are left out of parity.
        """


def check_batched(name: str, specs: Sequence[TensorSpec], kind: str) -> None:
    """Raise UsageError unless the batch is the first dim of every tensor.

    Args:
        name: the derived signature.
        specs: inputs or outputs of the signature that it wraps.
        kind: `input` or `output`, for the message.

    Raises:
        UsageError: a tensor has no dynamic first dim; the message names the tensor.
    """
    for spec in specs:
        if not spec.dims or not (is_batch(spec.dims[0]) or spec.dims[0] is None):
            raise UsageError(
                f"The signature {name!r} takes one string per row, but the first dim of the model's {kind} {spec} is not a "
                "dynamic batch.",
                fix=f"declare it with a batch, e.g. --input {shell_command(f'{spec.name}={spec.dtype}[{_with_batch(spec)}]')}",
                code="TFB1302",
            )


def _with_batch(spec: TensorSpec) -> str:
    return ",".join([BATCH, *("?" if dim is None else str(dim) for dim in spec.dims[1:])])


def batch_size(call: AdapterCall) -> int:
    """Return the number of rows in a call."""
    return max((array.shape[0] for array in call.inputs.values() if array.ndim), default=0)


def byte_strings(values: Sequence[bytes]) -> Array:
    """Return the values as an object array, which keeps trailing zero bytes."""
    array = np.empty(len(values), np.object_)
    array[:] = list(values)
    return array

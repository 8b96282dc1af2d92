"""What a server says of a model: the state of its versions; names, dtypes and dims of its signatures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serving.errors import TensorError
from serving.protocol.messages import enum
from serving.protocol.tensors import dtype_name

_INTERNAL = "__saved_model_"
"""Signatures that TensorFlow adds for itself (`__saved_model_init_op`); nobody calls them."""


@dataclass(frozen=True)
class TensorInfo:
    """One input or output.

    Attributes:
        dtype: a NumPy dtype name, `bfloat16` or `string`; of a type that no array can hold TensorFlow's own
        name. dims: None for a dynamic dim; None as a whole where not even the rank is known.
    """

    dtype: str
    dims: tuple[int | None, ...] | None

    def __str__(self) -> str:
        if self.dims is None:
            return f"{self.dtype}[...]"
        return f"{self.dtype}[{','.join('?' if size is None else str(size) for size in self.dims)}]"


@dataclass(frozen=True)
class SignatureInfo:
    """One signature: tensors by name. Their order is not known to a server."""

    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]
    method: str


@dataclass(frozen=True)
class ModelInfo:
    """Metadata of one served version."""

    name: str
    version: int
    signatures: dict[str, SignatureInfo]


@dataclass(frozen=True)
class VersionStatus:
    """State of one version.

    Attributes:
        state: START, LOADING, AVAILABLE, UNLOADING, END or UNKNOWN.
        error_code: `OK`, or why it is in this state, as gRPC's name of the code.
    """

    version: int
    state: str
    error_code: str = "OK"
    error_message: str = ""

    @property
    def available(self) -> bool:
        return self.state == "AVAILABLE"

    @property
    def failed(self) -> bool:
        """It ended with an error; the server does not try again by itself."""
        return self.state == "END" and self.error_code != "OK"

    def __str__(self) -> str:
        error = f" ({self.error_code}: {self.error_message})" if self.error_code != "OK" else ""
        return f"version {self.version} is {self.state}{error}"


def signatures_from_proto(signature_def_map: Any) -> dict[str, SignatureInfo]:
    """The signatures of a `tensorflow.serving.SignatureDefMap`, by name."""
    return {
        name: SignatureInfo(_tensors(definition.inputs), _tensors(definition.outputs), definition.method_name)
        for name, definition in sorted(signature_def_map.signature_def.items())
        if not name.startswith(_INTERNAL)
    }


def _tensors(infos: Any) -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(_dtype(info.dtype), _dims(info.tensor_shape)) for name, info in sorted(infos.items())
    }


def _dtype(number: int) -> str:
    try:
        return dtype_name(number)
    except TensorError:
        known = enum("tensorflow.DataType").values_by_number
        return known[number].name if number in known else str(number)


def _dims(shape: Any) -> tuple[int | None, ...] | None:
    if shape.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else dim.size for dim in shape.dim)


def statuses_from_proto(response: Any) -> list[VersionStatus]:
    """The versions in a `tensorflow.serving.GetModelStatusResponse`, ascending."""
    states = enum("tensorflow.serving.ModelVersionStatus.State").values_by_number
    codes = enum("tensorflow.error.Code").values_by_number
    found = [
        VersionStatus(
            row.version,
            states[row.state].name if row.state in states else str(row.state),
            codes[row.status.error_code].name
            if row.status.error_code in codes
            else str(row.status.error_code),
            row.status.error_message,
        )
        for row in response.model_version_status
    ]
    return sorted(found, key=lambda status: status.version)

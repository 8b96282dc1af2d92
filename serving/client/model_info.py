"""What a server reports about a model: the states of its versions, and the tensors of its signatures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serving.errors import TensorError
from serving.protocol.messages import enum
from serving.protocol.tensors import dtype_name

_INTERNAL = "__saved_model_"
"""Prefix of signatures that TensorFlow adds for its own use (`__saved_model_init_op`)."""


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a signature.

    Attributes:
        dtype: a NumPy dtype name, `bfloat16` or `string`; TensorFlow's own name for a type that no array can hold.
        dims: sizes, with None for a dynamic dim; None if not even the rank is known.
    """

    dtype: str
    dims: tuple[int | None, ...] | None

    def __str__(self) -> str:
        if self.dims is None:
            return f"{self.dtype}[...]"
        return f"{self.dtype}[{','.join('?' if size is None else str(size) for size in self.dims)}]"


@dataclass(frozen=True)
class SignatureInfo:
    """One signature: its tensors by name. A server does not report their order.

    Attributes:
        inputs: inputs by name.
        outputs: outputs by name.
        method: method name of the SignatureDef, e.g. `tensorflow/serving/predict`.
    """

    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]
    method: str


@dataclass(frozen=True)
class ModelInfo:
    """Metadata of one served version: its signatures by name."""

    name: str
    version: int
    signatures: dict[str, SignatureInfo]


@dataclass(frozen=True)
class VersionStatus:
    """State of one version of a model.

    Attributes:
        version: number of the version.
        state: START, LOADING, AVAILABLE, UNLOADING, END or UNKNOWN (apis/get_model_status.proto).
        error_code: `OK`, or gRPC's name of the code of the error that led to this state.
        error_message: text of that error.
    """

    version: int
    state: str
    error_code: str = "OK"
    error_message: str = ""

    @property
    def available(self) -> bool:
        """Whether the version answers requests."""
        return self.state == "AVAILABLE"

    @property
    def failed(self) -> bool:
        """Whether the version ended with an error; the server does not try again by itself."""
        return self.state == "END" and self.error_code != "OK"

    def __str__(self) -> str:
        error = f" ({self.error_code}: {self.error_message})" if self.error_code != "OK" else ""
        return f"version {self.version} is {self.state}{error}"


def signatures_from_proto(signature_def_map: Any) -> dict[str, SignatureInfo]:
    """Return the signatures of a `tensorflow.serving.SignatureDefMap` message by name, without TensorFlow's internal ones."""
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
    """Return the versions in a `tensorflow.serving.GetModelStatusResponse` message, in ascending order."""
    states = enum("tensorflow.serving.ModelVersionStatus.State").values_by_number
    codes = enum("tensorflow.error.Code").values_by_number
    statuses = [
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
    return sorted(statuses, key=lambda status: status.version)

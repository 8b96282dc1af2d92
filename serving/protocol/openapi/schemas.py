"""JSON schemas (draft 2020-12, as in OpenAPI 3.1) of a signature's requests and answers over REST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from serving.protocol.json_codec import data_type_string
from serving.protocol.messages import DEFAULT_SIGNATURE

Schema: TypeAlias = dict[str, Any]

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")
_BASE64: Schema = {
    "type": "object",
    "properties": {"b64": {"type": "string", "contentEncoding": "base64"}},
    "required": ["b64"],
    "additionalProperties": False,
}
_INPUT: dict[str, Schema] = {
    "float32": {"type": "number"},
    "float64": {"type": "number"},
    "bool": {"type": "boolean"},
    "string": {"anyOf": [{"type": "string"}, _BASE64]},
    **{
        name: {"type": "integer", "minimum": int(np.iinfo(name).min), "maximum": int(np.iinfo(name).max)} for name in _INTEGERS
    },
}
"""Dtype -> the schema of a value. JSON cannot carry the other dtypes: uint16, float16, bfloat16 and complex numbers."""

_DTYPES = {"float": "float32", "double": "float64", "half": "float16"}
PREDICT, CLASSIFY, REGRESS = "predict", "classify", "regress"


class Tensor(NamedTuple):
    """An input or output.

    Attributes:
        dtype: name of the dtype.
        dims: a size, or None for any, per axis; None for an unknown rank.
    """

    dtype: str
    dims: tuple[int | None, ...] | None


class Interface(NamedTuple):
    """A signature.

    Attributes:
        inputs, outputs: tensors by name.
        method: PREDICT, CLASSIFY or REGRESS.
    """

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    method: str = PREDICT


def interface_of(definition: Any) -> Interface:
    """Return a `tensorflow.SignatureDef` message as an `Interface`."""
    method = str(definition.method_name).rpartition("/")[2]
    return Interface(
        {name: _tensor(definition.inputs[name]) for name in sorted(definition.inputs)},
        {name: _tensor(definition.outputs[name]) for name in sorted(definition.outputs)},
        method if method in (CLASSIFY, REGRESS) else PREDICT,
    )


def _tensor(info: Any) -> Tensor:
    dims = tuple(int(dim.size) if dim.size >= 0 else None for dim in info.tensor_shape.dim)
    name = data_type_string(info.dtype)
    return Tensor(_DTYPES.get(name, name), None if info.tensor_shape.unknown_rank else dims)


def obstacle(signature: Interface) -> str:
    """Return why `:predict` cannot be called for a signature over REST; empty if it can."""
    if not signature.inputs:
        return "it has no inputs"
    for kind, tensors in (("input", signature.inputs), ("output", signature.outputs)):
        for name, tensor in tensors.items():
            if tensor.dtype not in _INPUT:
                return f"JSON cannot carry {kind} {name} of type {tensor.dtype}; use gRPC"
    return ""


def has_rows(signature: Interface) -> bool:
    """Return whether a signature takes requests in the row form: every input and output has a first dimension, the batch's."""
    return all(tensor.dims != () for tensor in (*signature.inputs.values(), *signature.outputs.values()))


def row_request(name: str, signature: Interface) -> Schema:
    """Return the schema of a request in the row form, `instances`: an object per row, or the value of the only input."""
    rows = {alias: _nested(tensor, _INPUT[tensor.dtype], skip=1) for alias, tensor in signature.inputs.items()}
    return _request(name, "instances", "inputs", _rows(signature.inputs, _one_or_named(rows, strict=True), least=1))


def column_request(name: str, signature: Interface) -> Schema:
    """Return the schema of a request in the column form, `inputs`: an array per input, or that of the only input."""
    columns = {alias: _nested(tensor, _INPUT[tensor.dtype]) for alias, tensor in signature.inputs.items()}
    return _request(name, "inputs", "instances", _one_or_named(columns, strict=False))


def row_answer(signature: Interface) -> Schema:
    """Return the schema of the answer to a row request: an object per row, or the value of the only output."""
    rows = {alias: _nested(tensor, _output(alias, tensor), skip=1) for alias, tensor in signature.outputs.items()}
    return _object({"predictions": _rows(signature.outputs, _of_outputs(rows))})


def column_answer(signature: Interface) -> Schema:
    """Return the schema of the answer to a column request: an array per output, or that of the only output."""
    columns = {alias: _nested(tensor, _output(alias, tensor)) for alias, tensor in signature.outputs.items()}
    return _object({"outputs": _of_outputs(columns)})


def _request(name: str, key: str, other: str, value: Schema) -> Schema:
    is_default = name == DEFAULT_SIGNATURE
    return {
        "type": "object",
        "properties": {
            "signature_name": {"enum": ["", name]} if is_default else {"const": name},
            key: value,
            other: False,
        },
        "required": [key] if is_default else ["signature_name", key],
    }


def _object(properties: Mapping[str, Schema], *, closed: bool = True) -> Schema:
    made: Schema = {"type": "object", "properties": dict(properties), "required": list(properties)}
    return {**made, "additionalProperties": False} if closed else made


def _one_or_named(values: Mapping[str, Schema], *, strict: bool) -> Schema:
    """Return the schema of a request's values: an object by name, or the plain value if there is one input only."""
    named = _object(values, closed=strict)
    return named if len(values) > 1 else {"anyOf": [*values.values(), named]}


def _of_outputs(values: Mapping[str, Schema]) -> Schema:
    return next(iter(values.values())) if len(values) == 1 else _object(values)


def _rows(tensors: Mapping[str, Tensor], row: Schema, least: int = 0) -> Schema:
    sizes = {tensor.dims[0] for tensor in tensors.values() if tensor.dims and tensor.dims[0] is not None}
    made: Schema = {"type": "array", "items": row}
    if len(sizes) == 1:
        (size,) = sizes
        return {**made, "minItems": size, "maxItems": size}
    return {**made, "minItems": least} if least else made


def _nested(tensor: Tensor, value: Schema, skip: int = 0) -> Schema:
    """Return the schema of a tensor's nested arrays, or of a row's if `skip` is 1."""
    if tensor.dims is None:
        return {"anyOf": [value, {"type": "array"}]}
    schema = value
    for size in reversed(tensor.dims[skip:]):
        schema = {"type": "array", "items": schema}
        if size is not None:
            schema |= {"minItems": size, "maxItems": size}
    return schema


def _output(name: str, tensor: Tensor) -> Schema:
    if tensor.dtype == "string":
        return _BASE64 if name.endswith("_bytes") else {"type": "string"}
    return _INPUT[tensor.dtype]


def examples_request(name: str, *, is_only: bool) -> Schema:
    """Return the schema of a request of `:classify` or `:regress`: tf.Examples as objects of features.

    Args:
        name: the signature.
        is_only: whether the request may leave its name out.
    """
    value: Schema = {"anyOf": [{"type": "number"}, {"type": "string"}, _BASE64]}
    feature: Schema = {"anyOf": [*value["anyOf"], {"type": "array", "items": value}]}
    example: Schema = {"type": "object", "additionalProperties": feature}
    return {
        "type": "object",
        "properties": {
            "signature_name": {"enum": ["", name]} if is_only else {"const": name},
            "context": example,
            "examples": {"type": "array", "items": example, "minItems": 1},
        },
        "required": ["examples"] if is_only else ["signature_name", "examples"],
    }


CLASSIFY_ANSWER: Schema = _object({
    "results": {
        "type": "array",
        "items": {
            "type": "array",
            "description": "Label and score of each class.",
            "items": {
                "type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}], "items": False, "minItems": 2,
            },
        },
    }
})  # fmt: skip
REGRESS_ANSWER: Schema = _object({"results": {"type": "array", "items": {"type": "number"}}})

ERROR: Schema = _object({"error": {"type": "string"}})
"""The body of every reply whose status is not 200."""

STATUS: Schema = _object({
    "model_version_status": {
        "type": "array",
        "items": _object({
            "version": {"type": "string", "pattern": "^-?[0-9]+$"},
            "state": {"enum": ["UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END"]},
            "status": _object({"error_code": {"type": "string"}, "error_message": {"type": "string"}}),
        }),
    }
})  # fmt: skip

_TENSOR_INFO = {
    "type": "object",
    "properties": {
        "dtype": {"type": "string", "pattern": "^DT_"},
        "name": {"type": "string"},
        "tensor_shape": _object({
            "dim": {
                "type": "array",
                "items": _object({"size": {"type": "string", "pattern": "^-?[0-9]+$"}, "name": {"type": "string"}}),
            },
            "unknown_rank": {"type": "boolean"},
        }),
    },
    "required": ["dtype", "tensor_shape"],
}  # fmt: skip
_TENSOR_INFOS = {"type": "object", "additionalProperties": _TENSOR_INFO}

METADATA: Schema = _object({
    "model_spec": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "version": {"type": "string", "pattern": "^-?[0-9]+$"}},
        "required": ["name", "version"],
    },
    "metadata": _object({
        "signature_def": _object({
            "signature_def": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {"inputs": _TENSOR_INFOS, "outputs": _TENSOR_INFOS, "method_name": {"type": "string"}},
                    "required": ["inputs", "outputs", "method_name"],
                },
            }
        })
    }),
})  # fmt: skip

"""Inputs in the forms that MLflow's users give them, and outputs in the forms that they and JSON can take.

1. A dict has arrays, or what can become arrays, by input name.
2. A DataFrame has a column for each input, whose cells are the rows of the tensor; or, for a model with one input, a column for
   each feature. Its values take the dtypes of the model, those of arrays have to have them.
3. Anything else is the one input of a model.
4. Bytes may be written as {"b64": "…"}, as in TensorFlow Serving's JSON.
5. bfloat16 is float32 outside. Strings of answers are text, except those of outputs named …_bytes, as in TensorFlow Serving's
   JSON, and those that are not UTF-8.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bundler.errors import UsageError
from bundler.values.arrays import Array
from bundler.values.signature import TensorSpec
from serving.client.arguments import typed_array
from serving.errors import TensorError
from serving.protocol.tensors import array_dtype_name, bfloat16_from_float32, bfloat16_to_float32


def to_inputs(data: Any, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Return the arrays of a call by input name, in the dtypes of the model where JSON or MLflow has no such dtype.

    Raises:
        UsageError: inputs are missing or unknown, or cannot become arrays.
    """
    values = _by_name(data, specs)
    names = [spec.name for spec in specs]
    if set(values) != set(names):
        raise _wrong(f"The call has the inputs {_listed(map(str, values))}, but the model takes {_listed(names)}.", specs)
    return {spec.name: _array(values[spec.name], spec, specs) for spec in specs}


def _by_name(data: Any, specs: Sequence[TensorSpec]) -> Mapping[Any, Any]:
    if isinstance(data, Mapping):
        return data
    if hasattr(data, "columns") and hasattr(data, "to_numpy"):
        return _of_frame(data, specs)
    if len(specs) == 1:
        return {specs[0].name: data}
    raise _wrong(f"The model has {len(specs)} inputs, but the call has only a {type(data).__name__}.", specs)


def _of_frame(frame: Any, specs: Sequence[TensorSpec]) -> dict[str, Any]:
    """Return the columns of a DataFrame by input name, or all of them as one input: lists, which take the dtypes of the model."""
    names = [spec.name for spec in specs]
    if set(names) <= set(frame.columns):
        return {name: [cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in frame[name]] for name in names}
    if len(specs) == 1:
        return {names[0]: frame.to_numpy().tolist()}
    raise _wrong(f"The DataFrame has the columns {_listed(map(str, frame.columns))}.", specs)


def _array(value: Any, spec: TensorSpec, specs: Sequence[TensorSpec]) -> Array:
    try:
        if isinstance(value, np.ndarray) and array_dtype_name(value) == spec.dtype and spec.dtype != "string":
            return value
        if spec.dtype == "string":
            return np.asarray(np.frompyfunc(_text, 1, 1)(np.asarray(value, object)), object)
        if isinstance(value, np.ndarray) and spec.dtype == "bfloat16" and value.dtype == np.float32:
            return bfloat16_from_float32(value)
        if isinstance(value, np.ndarray) and value.dtype.kind != "O":
            raise _wrong(f"The input {spec.name!r} is {value.dtype.name}, but the model takes {spec}.", specs)
        return typed_array(spec.name, value, spec.dtype)
    except (TensorError, ValueError, TypeError) as exc:
        reason = exc.what if isinstance(exc, TensorError) else f"The input {spec.name!r} is not a tensor: {exc}."
        raise _wrong(reason, specs) from exc


def _text(value: Any) -> Any:
    """Return text or bytes, those of {"b64": "…"} decoded."""
    if isinstance(value, Mapping) and set(value) == {"b64"}:
        try:
            return base64.b64decode(value["b64"], validate=True)
        except binascii.Error as exc:
            raise ValueError(f"a value is not base64 ({exc})") from exc
    if isinstance(value, (str, bytes)):
        return value
    raise ValueError(f"a value is {type(value).__name__}, not text or bytes")


def _wrong(what: str, specs: Sequence[TensorSpec]) -> UsageError:
    return UsageError(what, fix=f"give {', '.join(map(str, specs))}", code="TFB9405")


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names)) or "none"


def to_outputs(outputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the outputs of an answer in the forms that JSON can take."""
    return {name: _plain(name, array) for name, array in outputs.items()}


def _plain(name: str, array: Array) -> Array:
    kind = array_dtype_name(array)
    if kind == "bfloat16":
        return bfloat16_to_float32(array)
    if kind != "string" or name.endswith("_bytes"):
        return array
    try:
        return np.asarray(np.frompyfunc(_decoded, 1, 1)(array), object)
    except UnicodeDecodeError:
        return array


def _decoded(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

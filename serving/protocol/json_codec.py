"""Predict over REST: JSON bodies to arrays by input name, and arrays by output name to JSON.

The rules and error texts are the server's (tensorflow_serving/util/json_tensor.cc), with one deliberate difference: an
integer that an 8- or 16-bit tensor cannot hold is refused instead of wrapped.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np

from serving.protocol.float_texts import decimal_texts
from serving.protocol.json_object import c_string, members
from serving.protocol.json_parser import has_long_numbers, parse_object
from serving.protocol.json_text import debug_text, decode_base64, is_number, quote, type_name
from serving.protocol.messages import enum
from serving.protocol.status import Code, StatusError, invalid_argument
from serving.protocol.tensors import Array, array_dtype_name, dtype_name

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")
_FLOATS = ("float32", "float64")
_READABLE = (*_INTEGERS, *_FLOATS, "bool", "string")
"""Dtypes that the server converts from and to JSON; uint16, half and bfloat16 are not among them."""

_BOTH_KEYS = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
_SEVERAL = "as multiple input tensors required as per tensorinfo_map"
_INDENT = "    "
_BLOCK = 2**14
"""Number of values whose texts are made at once."""
_MAX_RANK = 64
"""NumPy's limit on the rank of an array."""


def data_type_string(number: int) -> str:
    """Return the name of a value of enum DataType in error texts: `float` for DT_FLOAT, `half` for DT_HALF."""
    known = enum("tensorflow.DataType").values_by_number
    if number not in known:
        return f"unknown dtype enum ({number})"
    return str(known[number].name).removeprefix("DT_").lower()


_LONG_TEXT = re.compile(rb'"(?<=[:\[,{\s]")(?:[^"\\]|\\.){64}', re.DOTALL)
"""Matches a string of 64 characters; a quote that ends one follows none of these characters, or the match is a false alarm."""


class _Hints(NamedTuple):
    """What the text of a body tells before its values are looked at.

    Attributes:
        booleans: it may have booleans, which NumPy would mix with numbers.
        long_texts: it may have long strings, see `_has_text`.
    """

    booleans: bool
    long_texts: bool


@dataclass(frozen=True)
class PredictBody:
    """A parsed body of `:predict`, whose tensors are read once its signature is known.

    Attributes:
        body: the body as it was received.
        document: the parsed body, with correctly rounded doubles.
        signature_name: name of the signature, empty for the default one.
    """

    body: bytes
    document: dict[str, Any]
    signature_name: str

    @property
    def is_row(self) -> bool:
        """Whether the body has the row form (`instances`)."""
        return "instances" in self.document

    def tensors(self, inputs: Mapping[str, int]) -> dict[str, Array]:
        """Return the request's arrays by input name.

        Args:
            inputs: the signature's inputs: name -> value of enum DataType. Their shapes are not checked, which is the
                server's own rule.

        Raises:
            StatusError: with the server's text.
        """
        if not has_long_numbers(self.body):
            return self._tensors(self.document, inputs)
        if not any(_readable(dtype) == "float64" for dtype in inputs.values()):
            try:
                return self._tensors(self.document, inputs)
            except StatusError:
                pass  # the error text may quote a double, rounded as the server does
        return self._tensors(parse_object(self.body, servers_doubles=True), inputs)

    def _tensors(self, document: dict[str, Any], inputs: Mapping[str, int]) -> dict[str, Array]:
        hints = _Hints(b"true" in self.body or b"false" in self.body, _LONG_TEXT.search(self.body) is not None)
        if "instances" not in document:
            if "inputs" not in document:
                raise invalid_argument("Missing 'inputs' or 'instances' key")
            return _columns(document["inputs"], inputs, hints)
        if "inputs" in document:
            raise _format_error(document, _BOTH_KEYS)
        instances = document["instances"]
        if not isinstance(instances, list):
            raise _format_error(document, "Expecting 'instances' to be an list/array")
        if not instances:
            raise _format_error(document, "No values in 'instances' array")
        return _rows(instances, inputs, hints)


def read_predict(body: bytes, max_nesting: int | None = None) -> PredictBody:
    """Parse the body of a predict request.

    Args:
        body: the body of the request.
        max_nesting: most arrays and objects inside each other; None for no limit.

    Raises:
        StatusError: INVALID_ARGUMENT: the body is not a JSON object or is too deep, or its `signature_name` is not a string.
    """
    document = parse_object(body, max_nesting=max_nesting)
    return PredictBody(body, document, read_signature_name(document))


def read_signature_name(document: dict[str, Any]) -> str:
    """Return the `signature_name` of a body; empty if there is none.

    Raises:
        StatusError: INVALID_ARGUMENT: it is not a string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise _format_error(document, "not formatted correctly. 'signature_name' key must be a string value.")
    return name


def _format_error(value: object, text: str) -> StatusError:
    return invalid_argument(f"JSON Value: {debug_text(value)} {text}")


def is_base64(value: object) -> bool:
    """Return whether a value is binary data: an object whose only key is `b64`, with a string as its value."""
    return isinstance(value, dict) and len(members(value)) == 1 and isinstance(value.get("b64"), str)


def _is_element_object(value: object) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _columns(value: Any, inputs: Mapping[str, int], hints: _Hints) -> dict[str, Array]:
    if not _is_element_object(value):
        if len(inputs) > 1:
            raise invalid_argument(f"inputs is a plain value/list, but expecting an object {_SEVERAL}")
        name, dtype = next(iter(inputs.items()))
        return {name: _tensor(value, dtype, hints)}
    arrays = {}
    for name, dtype in inputs.items():
        if name not in value:
            raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
        arrays[name] = _tensor(value[name], dtype, hints)
    return arrays


def _rows(instances: list[Any], inputs: Mapping[str, int], hints: _Hints) -> dict[str, Array]:
    if not isinstance(instances[0], dict) and len(inputs) > 1:
        raise invalid_argument(f"instances is a plain list, but expecting list of objects {_SEVERAL}")
    arrays = _rows_at_once(instances, inputs, hints)
    if arrays is not None:
        return arrays
    rows = _RowReader(inputs)
    for index, item in enumerate(instances):
        rows.add(index, item, named=_is_element_object(instances[0]))
    return rows.tensors(len(instances))


def _rows_at_once(
    instances: list[Any], inputs: Mapping[str, int], hints: _Hints
) -> dict[str, Array] | None:
    """Return the arrays of regular numeric rows; None if the rows must be read one by one."""
    if _is_element_object(instances[0]):
        names = inputs.keys()
        if any(type(item) is not dict or item.keys() != names for item in instances):
            return None  # a JsonObject may have several values for one name
        columns = {name: [item[name] for item in instances] for name in inputs}
    else:
        columns = {next(iter(inputs)): instances}
    arrays = {name: _dense(values, inputs[name], hints) for name, values in columns.items()}
    complete = {name: array for name, array in arrays.items() if array is not None}
    return complete if len(complete) == len(arrays) else None


class _RowReader:
    """Collects one tensor per input from the rows, each of which must have the first row's size and shape."""

    def __init__(self, inputs: Mapping[str, int]) -> None:
        self.inputs = inputs
        self.values: dict[str, list[Any]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.sizes: dict[str, int] = {}

    def add(self, index: int, item: Any, *, named: bool) -> None:
        """Add a row: an object of values by input name if `named`, else the value of the only input."""
        where = f"Failed to process element: {index}"
        if not named:
            if _is_element_object(item):
                raise invalid_argument(f"Expecting value/list but got object at item {index} of input list")
            self._add(next(iter(self.inputs)), item, f"{where} of 'instances' list. Error: ")
            return
        if not _is_element_object(item):
            raise invalid_argument(f"Expecting object but got list at item {index} of input list")
        names = set()
        for key, value in members(item):
            name = c_string(key)
            names.add(name)
            self._add(name, value, f"{where} key: {name} of 'instances' list. Error: ")
        if names != self.inputs.keys():
            keys = ",".join(sorted(self.inputs))
            raise invalid_argument(
                f"{where} of 'instances' list. JSON object: {debug_text(item)} keys must be equal to: {keys}"
            )

    def _add(self, name: str, value: Any, where: str) -> None:
        try:
            self._add_value(name, value)
        except StatusError as exc:
            raise invalid_argument(f"{where}{exc}") from exc

    def _add_value(self, name: str, value: Any) -> None:
        if name not in self.inputs:
            raise invalid_argument(f"JSON object: does not have named input: {name}")
        shape = _shape(value)
        flat: list[Any] = []
        _fill(value, shape, 0, self.inputs[name], flat)
        if name not in self.shapes:
            self.shapes[name], self.sizes[name], self.values[name] = shape, len(flat), flat
            return
        if self.sizes[name] != len(flat):
            raise invalid_argument(f"Expecting tensor size: {self.sizes[name]} but got: {len(flat)}")
        if self.shapes[name] != shape:
            wanted = _shape_text(self.shapes[name])
            raise invalid_argument(f"Expecting shape {wanted} but got: {_shape_text(shape)}")
        self.values[name].extend(flat)

    def tensors(self, count: int) -> dict[str, Array]:
        """Return the arrays. If a name occurs twice in a row, all later values are shifted and the surplus ones are dropped."""
        return {
            name: _array(values[: count * self.sizes[name]], (count, *self.shapes[name]), self.inputs[name])
            for name, values in self.values.items()
        }


def _shape_text(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _tensor(value: Any, dtype: int, hints: _Hints) -> Array:
    array = _dense(value, dtype, hints)
    if array is not None:
        return array
    shape = _shape(value)
    flat: list[Any] = []
    _fill(value, shape, 0, dtype, flat)
    return _array(flat, shape, dtype)


def _shape(value: Any) -> tuple[int, ...]:
    """Return the shape according to the first elements."""
    sizes = []
    while isinstance(value, list):
        sizes.append(len(value))
        if not value:
            break
        value = value[0]
    if len(sizes) > _MAX_RANK:
        raise invalid_argument(f"A tensor of {len(sizes)} dimensions is not supported; the limit is {_MAX_RANK}.")
    return tuple(sizes)


def _dense(value: Any, dtype: int, hints: _Hints) -> Array | None:
    """Return a regular nested list of numbers or booleans as an array; None if it must be read value by value."""
    name = _readable(dtype)
    if name is None or name == "string":
        return None
    if hints.long_texts and _has_text(value):
        return None
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        return None
    if name == "bool":
        return array if array.dtype == np.bool_ else None
    if array.dtype.kind not in "iuf" or hints.booleans:
        return None
    if name in _FLOATS:
        return narrowed(array, name)
    if array.dtype.kind == "f" and array.size:
        return None
    limits = np.iinfo(name)
    if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
        return None
    return array.astype(name)


def narrowed(array: Array, name: str) -> Array:
    """Convert numbers to floats as a C cast does; denormals become zero, as on the server's REST threads.

    Args:
        array: numbers of any shape and numeric dtype.
        name: `float32` or `float64`, the dtype of the result.
    """
    with np.errstate(over="ignore", under="ignore"):
        floats = array.astype(np.float64).astype(name)
    tiny = (floats != 0) & (np.abs(floats) < np.finfo(floats.dtype).tiny)
    return np.where(tiny, np.copysign(floats.dtype.type(0), floats), floats) if tiny.any() else floats


def _has_text(value: Any) -> bool:
    """Return whether a nested list has a string. NumPy would give each element of an array the size of the longest one."""
    while isinstance(value, list):
        kinds = set(map(type, value))
        if list not in kinds or str in kinds:
            return str in kinds
        value = list(chain.from_iterable(part for part in value if isinstance(part, list)))
    return isinstance(value, str)


def _readable(dtype: int) -> str | None:
    text = data_type_string(dtype)
    name = {"float": "float32", "double": "float64"}.get(text, text)
    return name if name in _READABLE else None


def _fill(value: Any, shape: tuple[int, ...], level: int, dtype: int, flat: list[Any]) -> None:
    """Append the values of a nested list to `flat` in order, and check that the list has the given shape."""
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid_argument(
                f"JSON Value: {debug_text(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        flat.append(_checked(value, dtype))
        return
    if level >= len(shape):
        raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid_argument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for element in value:
        _fill(element, shape, level + 1, dtype, flat)


def _checked(value: Any, dtype: int) -> Any:
    """Return one value of a tensor: bytes for a string, else a number or boolean that the dtype can hold."""
    name = _readable(dtype)
    if isinstance(value, dict):
        if name != "string":
            raise _type_error(value, dtype)
        return read_base64(value)
    if name is None:
        text = f"Conversion of JSON Value: {debug_text(value)} to type: {data_type_string(dtype)}"
        raise StatusError(Code.UNIMPLEMENTED, text)
    if name == "string" and isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if name == "bool" and isinstance(value, bool):
        return value
    if name in _FLOATS and is_number(value):
        return float(value)
    if name in _INTEGERS and is_number(value) and isinstance(value, int):
        limits = np.iinfo(name)
        if limits.min <= value <= limits.max:
            return value
    raise _type_error(value, dtype)


def _type_error(value: object, dtype: int) -> StatusError:
    expected = data_type_string(dtype)
    return _format_error(value, f"Type: {type_name(value)} is not of expected type: {expected}")


def read_base64(value: dict[str, Any]) -> bytes:
    """Return the bytes of `{"b64": "…"}`.

    Raises:
        StatusError: INVALID_ARGUMENT: the object has another form, or its string is not base64.
    """
    if not is_base64(value):
        raise _format_error(value, "not formatted correctly for base64 data")
    data = decode_base64(value["b64"])
    if data is None:
        raise invalid_argument("Unable to base64 decode")
    return data


def _array(flat: list[Any], shape: tuple[int, ...], dtype: int) -> Array:
    name = _readable(dtype)
    if name == "string":
        strings = np.empty(len(flat), np.object_)
        strings[:] = flat
        return strings.reshape(shape)
    if name in _FLOATS:
        return narrowed(np.array(flat, np.float64), name).reshape(shape)
    return np.array(flat, name or dtype_name(dtype)).reshape(shape)


def write_predictions(outputs: Mapping[str, Array], *, row: bool) -> bytes:
    """Return the body of the reply to `:predict`.

    Args:
        outputs: arrays by output name.
        row: whether the request had the row form; the reply then has `predictions`, otherwise `outputs`.

    Raises:
        StatusError: INVALID_ARGUMENT: JSON cannot carry a dtype; in the row form also if an output has no batch dimension
            or if the batch sizes differ.
    """
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    text = _predictions(outputs) if row else _outputs(outputs)
    return text.encode("utf-8", "surrogateescape")


def _outputs(outputs: Mapping[str, Array]) -> str:
    if len(outputs) == 1:
        name, array = next(iter(outputs.items()))
        return f'{{\n{_INDENT}"outputs": {_nested_text(name, array, 1)}\n}}'
    members = ",\n".join(
        f"{_INDENT * 2}{quote(name)}: {_nested_text(name, array, 2)}" for name, array in outputs.items()
    )
    return f'{{\n{_INDENT}"outputs": {{\n{members}\n{_INDENT}}}\n}}'


def _nested_text(name: str, array: Array, level: int) -> str:
    leaves = _leaf_texts(name, array, level + array.ndim)
    return _pretty(leaves, array.shape, level)


def _pretty(leaves: Iterator[str], shape: tuple[int, ...], level: int) -> str:
    if not shape:
        return next(leaves)
    if not shape[0]:
        return "[]"
    inner = (_pretty(leaves, shape[1:], level + 1) for _ in range(shape[0]))
    text = _joined(",\n" + _INDENT * (level + 1), inner, shape[0])
    return f"[\n{_INDENT * (level + 1)}{text}\n{_INDENT * level}]"


def _joined(separator: str, texts: Iterator[str], count: int) -> str:
    """Join `count` texts in blocks, since a short text takes ten times its length in memory."""
    blocks = (separator.join(islice(texts, _BLOCK)) for _ in range(0, count, _BLOCK))
    return separator.join(blocks)


def _predictions(outputs: Mapping[str, Array]) -> str:
    batch = _batch_size(outputs)
    if not batch:
        return f'{{\n{_INDENT}"predictions": []\n}}'
    if len(outputs) == 1:
        name, array = next(iter(outputs.items()))
        rows = _joined(", ", _row_texts(name, array, 2), batch)
        return f'{{\n{_INDENT}"predictions": [{rows}\n{_INDENT}]\n}}'
    columns = [(quote(name), _row_texts(name, array, 3)) for name, array in outputs.items()]
    items = (
        ",\n".join([f"{_INDENT * 3}{name}: {next(texts)}" for name, texts in columns])
        for _ in range(batch)
    )
    body = _joined(",\n", (f"{_INDENT * 2}{{\n{item}\n{_INDENT * 2}}}" for item in items), batch)
    return f'{{\n{_INDENT}"predictions": [\n{body}\n{_INDENT}]\n}}'


def _batch_size(outputs: Mapping[str, Array]) -> int:
    batch = -1
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if batch >= 0 and batch != array.shape[0]:
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {array.shape[0]} expecting: {batch}"
            )
        batch = array.shape[0]
    return batch


def _row_texts(name: str, array: Array, level: int) -> Iterator[str]:
    """Yield one text per row, with its arrays on one line."""
    leaves = _leaf_texts(name, array, level + array.ndim - 1)
    return (_flat(leaves, array.shape[1:]) for _ in range(array.shape[0]))


def _flat(leaves: Iterator[str], shape: tuple[int, ...]) -> str:
    if not shape:
        return next(leaves)
    return "[" + ", ".join([_flat(leaves, shape[1:]) for _ in range(shape[0])]) + "]"


def _leaf_texts(name: str, array: Array, level: int) -> Iterator[str]:
    """Return the JSON texts of all values, in order, made in blocks.

    Args:
        name: name of the output.
        array: its values.
        level: depth of the values in the document, for the indentation of the object that holds bytes.

    Raises:
        StatusError: INVALID_ARGUMENT: JSON cannot carry the dtype.
    """
    kind = array_dtype_name(array)
    if array.size and kind not in (*_FLOATS, *_INTEGERS, "string", "bool"):
        text = {"float16": "half"}.get(kind, kind)
        raise invalid_argument(f"Failed to write JSON value for tensor type: {text}")
    flat = array.ravel()
    blocks = (flat[start : start + _BLOCK] for start in range(0, flat.size, _BLOCK))
    return chain.from_iterable(_block_texts(name, block, kind, level) for block in blocks)


def _block_texts(name: str, array: Array, kind: str, level: int) -> list[str]:
    if kind == "string":
        values = [value.encode() if isinstance(value, str) else value for value in array.tolist()]
        if name.endswith("_bytes"):
            return [_base64_text(value, level) for value in values]
        return [quote(value.decode("utf-8", "surrogateescape")) for value in values]
    if kind == "bool":
        return ["true" if value else "false" for value in array.tolist()]
    if kind in _FLOATS:
        return decimal_texts(array)
    return [str(value) for value in array.tolist()]


def _base64_text(value: bytes, level: int) -> str:
    text = base64.b64encode(value).decode("ascii")
    return f'{{\n{_INDENT * (level + 1)}"b64": "{text}"\n{_INDENT * level}}}'


def write_error(message: str) -> bytes:
    """Return the body of a reply whose status is not 200."""
    return f'{{\n{_INDENT}"error": {quote(message)}\n}}'.encode("utf-8", "surrogateescape")

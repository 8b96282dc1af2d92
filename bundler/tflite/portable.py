"""Gives a .tflite file inputs and outputs of types that phones and browsers take (`tflite.io: portable`).

LiteRT.js takes float32, int32 and uint8 (npm `@litertjs/core` 2.5.3, SUPPORTED_DTYPES of datatypes.ts); MediaPipe takes no
int64, bool or int8; tfjs-tflite answers wrongly for int64. Therefore

1. an int64, int16 or int8 input or output becomes int32, a bool becomes uint8, and a float64 becomes float32; quantized integers
   stay as they are;
2. where an operator computes the same in int32, int64 becomes int32 inside of the file, too: indices, comparisons, selections,
   moves of values, sums with a constant;
3. a CAST stands where an operator needs the original type, and a CAST from int32 to int64 or back that is not needed is removed.

Names, order and shapes stay. A product or a sum of two computed values stays int64, because it could be out of int32's range.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bundler.errors import TfliteError, UsageError
from bundler.tflite.contents import names_of
from bundler.tflite.flatbuffer import builtin_name, packed, text
from bundler.values.arrays import Array

PORTABLE = "portable"

ENDS: Mapping[str, str] = {
    "int64": "int32", "int16": "int32", "int8": "int32", "bool": "uint8", "float64": "float32",
}  # fmt: skip
"""The dtype at the end of a portable file, by the model's dtype; others are the same."""

_CAST_VERSIONS = {"INT8": 2, "FLOAT64": 3, "INT16": 4}
"""Versions of CAST that take these types (tensorflow/lite/tools/versioning/op_version.cc)."""

_ALL = tuple(range(64))
_VALUES: Mapping[str, Sequence[int]] = {
    **dict.fromkeys((
        "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "TILE", "BROADCAST_TO", "PAD",
        "REVERSE_V2", "UNPACK", "SPLIT_V",
    ), (0,)),
    **dict.fromkeys((
        "GATHER", "GATHER_ND", "MAXIMUM", "MINIMUM", "ADD", "SUB", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL",
        "EQUAL", "NOT_EQUAL",
    ), (0, 1)),
    **dict.fromkeys(("SELECT", "SELECT_V2"), (1, 2)),
    **dict.fromkeys(("CONCATENATION", "PACK"), _ALL),
    "SPLIT": (1,), "PADV2": (0, 2), "ONE_HOT": (0, 2, 3),
}  # fmt: skip
"""Positions of the inputs that an operator may take as int32 in place of int64, with an output of the same type."""

_WITH_CONSTANT = ("ADD", "SUB")
"""Operators that become int32 only with a constant."""

_EXACT = ("BOOL", "UINT8", "INT8", "INT16", "UINT16", "INT32")
"""Types whose values all fit int32."""


def end_dtype(dtype: str, io: str) -> str:
    """Return the dtype of an input or output in the file, for a dtype of the model that is not quantized."""
    return ENDS.get(dtype, dtype) if io == PORTABLE else dtype


def check_fits(tensors: Mapping[str, Array]) -> None:
    """Check that test values of inputs and outputs fit the dtypes of a portable file.

    Raises:
        UsageError: an int64 value is out of int32's range.
    """
    limits = np.iinfo(np.int32)
    for name, array in tensors.items():
        if array.dtype == np.int64 and array.size and (array.min() < limits.min or array.max() > limits.max):
            value = int(array.min() if array.min() < limits.min else array.max())
            raise UsageError(
                f"{name!r} has the value {value}, which is out of the range of int32, the type that portable TFLite files use "
                "for int64.",
                fix="set tflite.io to model (--tflite-io model), which keeps int64, or use smaller values in the example",
                code="TFB4005",
            )


def portable(file: bytes) -> bytes:
    """Return the .tflite file with portable inputs and outputs; a file that has them already is returned unchanged.

    Raises:
        TfliteError: the weights are stored outside of the buffers, as in files over 2 GiB.
    """
    from ai_edge_litert import schema_py_generated as schema

    if not _has_other_ends(schema.Model.GetRootAs(file, 0)):
        return file
    tree = schema.ModelT.InitFromPackedBuf(file, 0)
    if any(buffer.offset for buffer in tree.buffers):
        raise TfliteError(
            "The TFLite file is over 2 GiB: the types of its inputs and outputs cannot be changed.",
            fix="set tflite.io to model (--tflite-io model)",
            code="TFB4203",
        )
    for index in dict.fromkeys(signature.subgraphIndex for signature in tree.signatureDefs or []):
        _Graph(tree, index, schema).rewrite()
    return packed(tree, size=len(file) + 1024)


def _has_other_ends(model: Any) -> bool:
    types = names_of("TensorType")
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        ends = [*_indices(graph.InputsAsNumpy()), *_indices(graph.OutputsAsNumpy())]
        for tensor in map(graph.Tensors, ends):
            quantization = tensor.Quantization()
            scaled = quantization is not None and quantization.ScaleLength() > 0
            if not scaled and types[tensor.Type()].lower() in ENDS:
                return True
    return False


def _indices(array: Any) -> list[int]:
    return [] if isinstance(array, int) else [int(index) for index in array]


class _Graph:
    """Rewrites one subgraph that a signature calls.

    `_types` holds each tensor's original type. `_stored[i]` is the tensor that holds the values of tensor i in its portable
    type, for each i whose values are not stored in the original type; `_same[i]` is a tensor equal to tensor i, which is gone.
    """

    def __init__(self, tree: Any, index: int, schema: Any) -> None:
        self._tree, self._index, self._schema = tree, index, schema
        self._graph = tree.subgraphs[index]
        self._types = [names_of("TensorType")[tensor.type] for tensor in self._graph.tensors]
        self._outputs = frozenset(map(int, self._graph.outputs))
        self._stored: dict[int, int] = {}
        self._same: dict[int, int] = {}
        self._casts: dict[int, int] = {}
        self._constants: dict[int, int] = {}
        self._readers: dict[int, set[str]] = {}
        for operator in self._graph.operators:
            for index in _list(operator.inputs):
                self._readers.setdefault(int(index), set()).add(builtin_name(self._tree, operator))

    def rewrite(self) -> None:
        """Change the types at the ends and inside."""
        for index in map(int, self._graph.inputs):
            if (end := self._end(index)) is not None:
                self._set_type(index, end)
                self._stored[index] = index
        self._graph.operators = [new for operator in self._graph.operators for new in self._rewritten(operator)]
        moved = {index: self._moved_output(index, end) for index in self._outputs if (end := self._end(index)) is not None}
        self._graph.outputs = np.array([moved.get(int(index), int(index)) for index in self._graph.outputs], np.int32)
        for signature in self._tree.signatureDefs:
            if signature.subgraphIndex == self._index:
                for end_map in signature.outputs:
                    end_map.tensorIndex = moved.get(end_map.tensorIndex, end_map.tensorIndex)
        self._drop_replaced_constants()

    def _end(self, index: int) -> str | None:
        """Return the portable type of an input or output whose type is not portable."""
        tensor = self._graph.tensors[index]
        scaled = tensor.quantization is not None and len(_list(tensor.quantization.scale)) > 0
        return None if scaled or index in self._stored else _portable_type(self._type(index))

    def _rewritten(self, operator: Any) -> Iterator[Any]:
        """Yield the operator with the casts that it needs before it; nothing if it is a cast that is not needed."""
        operator.inputs = np.array([self._same.get(int(i), int(i)) for i in _list(operator.inputs)], np.int32)
        name = builtin_name(self._tree, operator)
        if name == "CAST" and self._dropped(int(operator.inputs[0]), int(operator.outputs[0])):
            return
        narrow = self._narrow_inputs(name, operator)
        inputs = list(map(int, operator.inputs))
        for position, index in enumerate(inputs):
            if position in narrow:
                inputs[position] = narrow[position]
            elif index in self._stored:
                if index not in self._casts:
                    yield self._widening(index)
                inputs[position] = self._casts[index]
        operator.inputs = np.array(inputs, np.int32)
        if narrow or name in ("CAST", "ARG_MAX", "ARG_MIN"):
            self._narrow_outputs(name, operator)
        yield operator

    def _dropped(self, source: int, target: int) -> bool:
        """Drop a CAST between int32 and int64 whose values are int32 on both sides, except for one that makes an output."""
        if target in self._outputs:
            return False
        holds_int32 = source in self._stored if self._types[source] == "INT64" else self._types[source] == "INT32"
        if not holds_int32 or self._types[target] not in ("INT32", "INT64"):
            return False
        stored = self._stored.get(source, source)
        (self._stored if self._types[target] == "INT64" else self._same)[target] = stored
        return True

    def _narrow_inputs(self, name: str, operator: Any) -> dict[int, int]:
        """Return the int32 tensors for the operator's int64 inputs, by position; empty if it cannot compute in int32."""
        inputs = list(map(int, operator.inputs))
        if name == "CAST":
            return {0: self._stored[inputs[0]]} if inputs[0] in self._stored and self._types[inputs[0]] == "INT64" else {}
        positions = [p for p in _VALUES.get(name, ()) if p < len(inputs) and self._types[inputs[p]] == "INT64"]
        computed = [p for p in positions if inputs[p] in self._stored]
        constant = [p for p in positions if p not in computed and self._fits(inputs[p])]
        if len(computed) + len(constant) < len(positions) or (name in _WITH_CONSTANT and len(computed) != 1):
            return {}
        return {
            **{p: self._stored[inputs[p]] for p in computed},
            **{p: self._narrow_constant(inputs[p]) for p in constant},
        }  # fmt: skip

    def _narrow_outputs(self, name: str, operator: Any) -> None:
        options = operator.builtinOptions
        for index in map(int, operator.outputs):
            exact = name != "CAST" or self._type(int(operator.inputs[0])) in _EXACT
            needed = name in _VALUES or self._readers.get(index, set()) <= {"CAST", *_VALUES}
            if self._types[index] == "INT64" and exact and needed:
                self._set_type(index, "INT32")
                self._stored[index] = index
                if name in ("ARG_MAX", "ARG_MIN"):
                    options.outputType = self._code_of("INT32")
        if name == "CAST" and options is not None:
            options.inDataType = self._graph.tensors[int(operator.inputs[0])].type
            options.outDataType = self._graph.tensors[int(operator.outputs[0])].type

    def _widening(self, index: int) -> Any:
        """Return a CAST of the stored values to the original type."""
        stored = self._stored[index]
        original = self._types[index]
        name = self._graph.tensors[stored].name
        self._casts[index] = self._new_tensor(stored, original, text(name) + "/" + original.lower())
        return self._cast(stored, self._casts[index])

    def _moved_output(self, index: int, end: str) -> int:
        """Add a CAST of an output to its portable type, and return the new output, which takes over the tensor's name."""
        tensor = self._graph.tensors[index]
        moved = self._new_tensor(index, end, text(tensor.name))
        tensor.name = f"{text(tensor.name)}/{self._types[index].lower()}"
        self._graph.operators.append(self._cast(index, moved))
        return moved

    def _cast(self, source: int, target: int) -> Any:
        schema = self._schema
        operator, options = schema.OperatorT(), schema.CastOptionsT()
        options.inDataType, options.outDataType = (self._graph.tensors[i].type for i in (source, target))
        version = max(_CAST_VERSIONS.get(self._type(i), 1) for i in (source, target))
        operator.opcodeIndex = self._cast_code(version)
        operator.inputs, operator.outputs = np.array([source], np.int32), np.array([target], np.int32)
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.CastOptions, options
        return operator

    def _cast_code(self, version: int) -> int:
        cast = self._schema.BuiltinOperator.CAST
        for index, code in enumerate(self._tree.operatorCodes):
            if code.builtinCode == cast and code.version >= version:
                return index
        code = self._schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = cast
        code.version = version
        self._tree.operatorCodes.append(code)
        return len(self._tree.operatorCodes) - 1

    def _new_tensor(self, like: int, kind: str, name: str, buffer: int = 0) -> int:
        old, tensor = self._graph.tensors[like], self._schema.TensorT()
        tensor.shape, tensor.shapeSignature, tensor.hasRank = old.shape, old.shapeSignature, old.hasRank
        tensor.type, tensor.name, tensor.buffer = self._code_of(kind), name, buffer
        self._graph.tensors.append(tensor)
        self._types.append(kind)
        return len(self._graph.tensors) - 1

    def _fits(self, index: int) -> bool:
        """Return whether an int64 tensor is a constant within int32's range."""
        data = self._tree.buffers[self._graph.tensors[index].buffer].data
        if data is None or not len(data):
            return False
        values, limits = _values(data), np.iinfo(np.int32)
        return bool(values.min() >= limits.min and values.max() <= limits.max)

    def _narrow_constant(self, index: int) -> int:
        if index not in self._constants:
            old = self._graph.tensors[index]
            buffer = self._schema.BufferT()
            buffer.data = _values(self._tree.buffers[old.buffer].data).astype(np.int32).view(np.uint8)
            self._tree.buffers.append(buffer)
            number = len(self._tree.buffers) - 1
            self._constants[index] = self._new_tensor(index, "INT32", f"{text(old.name)}/int32", number)
        return self._constants[index]

    def _drop_replaced_constants(self) -> None:
        """Let int64 constants that nothing reads share the data of their replacement, and free their own."""
        read = {int(index) for operator in self._graph.operators for index in _list(operator.inputs)} | set(self._outputs)
        for index, replacement in self._constants.items():
            if index not in read:
                tensor, number = self._graph.tensors[index], self._graph.tensors[index].buffer
                tensor.type, tensor.buffer = self._code_of("INT32"), self._graph.tensors[replacement].buffer
                if all(other.buffer != number for graph in self._tree.subgraphs for other in graph.tensors):
                    self._tree.buffers[number].data = None

    def _type(self, index: int) -> str:
        return names_of("TensorType")[self._graph.tensors[index].type]

    def _set_type(self, index: int, name: str) -> None:
        self._graph.tensors[index].type = self._code_of(name)

    def _code_of(self, name: str) -> int:
        return int(getattr(self._schema.TensorType, name))


def _portable_type(name: str) -> str | None:
    end = ENDS.get(name.lower())
    return end.upper() if end else None


def _list(value: Any) -> list[Any]:
    return [] if value is None else list(value)


def _values(data: Any) -> Array:
    return np.frombuffer(bytes(bytearray(data)), np.int64)


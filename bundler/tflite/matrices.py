"""The constant matrices that fully connected layers and embeddings of a float .tflite file read, and files with quantized ones.

EMBEDDING_LOOKUP takes a vector of int32 and returns a matrix (embedding_lookup.cc), so that a GATHER of another rank becomes a
RESHAPE, the lookup, and a RESHAPE. Its scales, and those of FULLY_CONNECTED, are one for each row, or a tensor of float16 with
one for each block of a row (`BlockwiseQuantization` in schema.fbs).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bundler.errors import TfliteError
from bundler.tflite.blocks import SIZE, Quantized
from bundler.tflite.flatbuffer import builtin_name, packed, text
from bundler.values.arrays import Array

LEAST_VALUES = 1_024
"""Matrices with fewer values stay float, as TensorFlow's converter has it in `dynamic`."""

_PRODUCT = "FULLY_CONNECTED"
_POSITIONS = {"FULLY_CONNECTED": 1, "GATHER": 0, "EMBEDDING_LOOKUP": 1}
"""The input that is the matrix, by operator."""
_INT8_VERSIONS = {"FULLY_CONNECTED": 12, "EMBEDDING_LOOKUP": 4}
"""Versions that take int8 weights with a scale for each row (tensorflow/lite/tools/versioning/op_version.cc)."""
_INT4_VERSIONS = {"FULLY_CONNECTED": 14, "EMBEDDING_LOOKUP": 5}
"""Versions for weights in blocks.

Nothing in LiteRT states them. Releases before 2.1 have older ones, and answer wrongly or crash (docs.tflite_runtimes); with these
versions, they refuse the file.
"""

Place = tuple[int, int]
"""The numbers of a subgraph and of a tensor or an operator in it."""


@dataclass(frozen=True)
class Matrix:
    """A constant float matrix.

    Attributes:
        buffer: the number of its buffer, which several tensors can share.
        tensor: name of the first output that is computed with it.
        operator: name of the operator that computes it.
        values: float32 [rows, columns].
        products: the fully connected layers that it is the weights of.
    """

    buffer: int
    tensor: str
    operator: str
    values: Array = field(compare=False, repr=False)
    products: tuple[Place, ...] = ()

    @property
    def columns(self) -> int:
        """Number of columns."""
        return int(self.values.shape[1])

    @property
    def has_blocks(self) -> bool:
        """Whether each row is made of whole blocks."""
        return self.columns % SIZE == 0


def matrices(file: bytes) -> tuple[Matrix, ...]:
    """Return the matrices that can be quantized, in the order in which they are used.

    Raises:
        TfliteError: the weights are stored outside of the buffers, as in files over 2 GiB.
    """
    tree = _tree(file)
    uses: dict[int, list[tuple[int, int, int]]] = {}
    for graph_number, graph in enumerate(tree.subgraphs):
        for number, operator in enumerate(graph.operators):
            for position, index in enumerate(_list(operator.inputs)):
                if index >= 0:
                    uses.setdefault(graph.tensors[index].buffer, []).append((graph_number, number, position))
        for index in _list(graph.outputs):
            uses.setdefault(graph.tensors[index].buffer, []).append((graph_number, -1, 0))
    return tuple(_matrix(tree, buffer, places) for buffer, places in uses.items() if _can_be(tree, buffer, places))


def _can_be(tree: Any, buffer: int, places: Sequence[tuple[int, int, int]]) -> bool:
    """Return whether nothing but products and embeddings reads a buffer, as a large float matrix."""
    data = tree.buffers[buffer].data
    if data is None or len(data) < 4 * LEAST_VALUES or any(number < 0 for _, number, _ in places):
        return False
    return all(_reads_matrix(tree, tree.subgraphs[graph], number, position) for graph, number, position in places)


def _reads_matrix(tree: Any, graph: Any, number: int, position: int) -> bool:
    operator = graph.operators[number]
    name, options = builtin_name(tree, operator), operator.builtinOptions
    if _POSITIONS.get(name) != position:
        return False
    tensor = graph.tensors[operator.inputs[position]]
    if tensor.type != _types().FLOAT32 or len(_list(tensor.shape)) != 2:
        return False
    other = graph.tensors[operator.inputs[1 - position]].type
    if name == _PRODUCT:
        return bool(options.weightsFormat == 0 and other == _types().FLOAT32)
    return other in (_types().INT32, _types().INT64) and (name != "GATHER" or (options.axis in (0, -2) and not options.batchDims))


def _matrix(tree: Any, buffer: int, places: Sequence[tuple[int, int, int]]) -> Matrix:
    graph_number, number, position = places[0]
    graph = tree.subgraphs[graph_number]
    operator = graph.operators[number]
    shape = _list(graph.tensors[operator.inputs[position]].shape)
    values = np.frombuffer(bytes(tree.buffers[buffer].data), np.float32).reshape(shape)
    products = tuple((g, n) for g, n, _ in places if builtin_name(tree, tree.subgraphs[g].operators[n]) == _PRODUCT)
    name = text(graph.tensors[operator.outputs[0]].name)
    return Matrix(buffer, name, builtin_name(tree, operator), values, products)


def with_matrices(file: bytes, quantized: Mapping[Matrix, Quantized]) -> bytes:
    """Return a float file with some of its matrices quantized.

    Args:
        file: the content that `matrices` read.
        quantized: the new form of each matrix; others stay float.
    """
    writer = _Writer(_tree(file), {matrix.buffer: form for matrix, form in quantized.items()})
    return writer.written(len(file))


class _Writer:
    """Replaces matrices in an object tree."""

    def __init__(self, tree: Any, forms: Mapping[int, Quantized]) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._tree, self._forms, self._schema = tree, forms, schema
        self._codes: dict[tuple[str, int], int] = {}
        self._scales = {buffer: self._buffer(form.scales.astype(np.float16)) for buffer, form in forms.items() if _is_int4(form)}

    def written(self, size: int) -> bytes:
        for graph in self._tree.subgraphs:
            graph.operators = [new for operator in graph.operators for new in self._rewritten(graph, operator)]
            for tensor in list(graph.tensors):
                if tensor.buffer in self._forms:
                    self._quantize(graph, tensor, tensor.buffer)
        for buffer, form in self._forms.items():
            self._tree.buffers[buffer].data = form.data.reshape(-1).view(np.uint8)
        return packed(self._tree, size=size)

    def _quantize(self, graph: Any, tensor: Any, buffer: int) -> None:
        form, parameters = self._forms[buffer], self._schema.QuantizationParametersT()
        parameters.quantizedDimension = 0
        if _is_int4(form):
            tensor.type = _types().INT4
            details = self._schema.BlockwiseQuantizationT()
            details.scales, details.zeroPoints, details.blockSize = self._scales_of(graph, tensor, buffer), -1, SIZE
            parameters.detailsType = self._schema.QuantizationDetails.BlockwiseQuantization
            parameters.details = details
        else:
            tensor.type = _types().INT8
            parameters.scale = form.scales.astype(np.float32)
            parameters.zeroPoint = np.zeros(len(form.scales), np.int64)
        tensor.quantization = parameters

    def _scales_of(self, graph: Any, tensor: Any, buffer: int) -> int:
        shape = self._forms[buffer].scales.shape
        return self._tensor(graph, f"{text(tensor.name)}/scales", shape, _types().FLOAT16, self._scales[buffer])

    def _rewritten(self, graph: Any, operator: Any) -> Iterator[Any]:
        name = builtin_name(self._tree, operator)
        position = _POSITIONS.get(name)
        if position is None or graph.tensors[operator.inputs[position]].buffer not in self._forms:
            yield operator
        elif name == "GATHER":
            yield from self._lookup(graph, operator)
        else:
            operator.opcodeIndex = self._code(name, self._version(graph, name, int(operator.inputs[position])))
            yield operator

    def _version(self, graph: Any, name: str, matrix: int) -> int:
        return (_INT4_VERSIONS if _is_int4(self._forms[graph.tensors[matrix].buffer]) else _INT8_VERSIONS)[name]

    def _lookup(self, graph: Any, gather: Any) -> Iterator[Any]:
        table, indices, output = (int(i) for i in (*gather.inputs, gather.outputs[0]))
        version = self._version(graph, "EMBEDDING_LOOKUP", table)
        shape, name = _list(graph.tensors[indices].shape), text(graph.tensors[output].name).rstrip(";")
        if graph.tensors[indices].type == _types().INT64:
            narrow = self._tensor(graph, f"{name}/int32", shape, _types().INT32)
            yield self._cast(indices, narrow)
            indices = narrow
        if len(shape) == 1:
            yield self._operator("EMBEDDING_LOOKUP", version, [indices, table], output)
            return
        count, columns = int(np.prod(shape, dtype=np.int64)), _list(graph.tensors[table].shape)[1]
        flat = self._tensor(graph, f"{name}/indices", [count], _types().INT32)
        rows = self._tensor(graph, f"{name}/rows", [count, columns], _types().FLOAT32)
        yield self._reshape(graph, indices, flat)
        yield self._operator("EMBEDDING_LOOKUP", version, [flat, table], rows)
        yield self._reshape(graph, rows, output)

    def _reshape(self, graph: Any, source: int, target: int) -> Any:
        tensor, options = graph.tensors[target], self._schema.ReshapeOptionsT()
        sizes = np.array(_list(tensor.shape), np.int32)
        options.newShape = sizes
        shape = self._tensor(graph, f"{text(tensor.name)}/shape", [len(sizes)], _types().INT32, self._buffer(sizes))
        return self._operator("RESHAPE", 1, [source, shape], target, "ReshapeOptions", options)

    def _cast(self, source: int, target: int) -> Any:
        options = self._schema.CastOptionsT()
        options.inDataType, options.outDataType = _types().INT64, _types().INT32
        return self._operator("CAST", 1, [source], target, "CastOptions", options)

    def _operator(
        self, name: str, version: int, inputs: Sequence[int], output: int, kind: str = "NONE", options: Any = None
    ) -> Any:
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._code(name, version)
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        operator.builtinOptionsType, operator.builtinOptions = getattr(self._schema.BuiltinOptions, kind), options
        return operator

    def _code(self, name: str, version: int) -> int:
        if (name, version) not in self._codes:
            code = self._schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = getattr(self._schema.BuiltinOperator, name)
            code.version = version
            self._tree.operatorCodes.append(code)
            self._codes[name, version] = len(self._tree.operatorCodes) - 1
        return self._codes[name, version]

    def _tensor(self, graph: Any, name: str, shape: Sequence[int], kind: int, buffer: int = 0) -> int:
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, np.array(shape, np.int32), kind, buffer
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    def _buffer(self, values: Array) -> int:
        buffer = self._schema.BufferT()
        buffer.data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self._tree.buffers.append(buffer)
        return len(self._tree.buffers) - 1


def _is_int4(form: Quantized) -> bool:
    return form.scales.ndim == 2


def _tree(file: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    tree = schema.ModelT.InitFromPackedBuf(file, 0)
    if any(buffer.offset for buffer in tree.buffers):
        raise TfliteError("The TFLite file is over 2 GiB: its weights cannot become int4.", code="TFB4203")
    return tree


def _types() -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.TensorType


def _list(values: Any) -> list[int]:
    return [] if values is None else [int(value) for value in values]

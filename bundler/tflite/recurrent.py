"""Recurrent operators that answer every call alike.

UNIDIRECTIONAL_SEQUENCE_LSTM keeps its states in variable tensors, and the next call starts from where the last one ended
(tensorflow/lite/kernels/unidirectional_sequence_lstm.cc); ONNX's LSTM starts from zero. An operator that writes zeros into
the states is put before it. The converter also has it cut off the cell state at 10, which ONNX does not do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bundler.tflite.flatbuffer import packed

_HIDDEN_STATE, _CELL_STATE = 18, 19
"""Places among the operator's inputs (unidirectional_sequence_lstm.cc, lstm_shared.h)."""


def start_from_zero(file: bytes) -> bytes:
    """The .tflite file with the states of its LSTMs set to zero in every call; the same bytes where it has none."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(bytearray(file), 0)
    lstm = schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM
    if not any(model.OperatorCodes(i).BuiltinCode() == lstm for i in range(model.OperatorCodesLength())):
        return file
    tree = schema.ModelT.InitFromObj(model)
    writers = _Writers(tree, schema)
    for graph in tree.subgraphs:
        operators = []
        for operator in graph.operators:
            if tree.operatorCodes[operator.opcodeIndex].builtinCode == lstm:
                operator.builtinOptions.cellClip = 0.0
                operators += [writers.zeros_into(graph, int(operator.inputs[i])) for i in (_HIDDEN_STATE, _CELL_STATE)]
            operators.append(operator)
        graph.operators = operators
    return packed(tree, size=len(file))


class _Writers:
    """Makes operators that write zeros into a state.

    ZEROS_LIKE of a constant writes floats; QUANTIZE of zeros writes what stands for zero in a quantized state.
    """

    def __init__(self, tree: Any, schema: Any) -> None:
        self._tree = tree
        self._schema = schema
        self._codes: dict[int, int] = {}

    def zeros_into(self, graph: Any, state: int) -> Any:
        schema, like = self._schema, graph.tensors[state]
        is_float = like.type == schema.TensorType.FLOAT32
        name = "ZEROS_LIKE" if is_float else "QUANTIZE"
        kind = "ZerosLikeOptions" if is_float else "QuantizeOptions"
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(getattr(schema.BuiltinOperator, name))
        operator.inputs = np.array([self._float_zeros(graph, like)], np.int32)
        operator.outputs = np.array([state], np.int32)
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        operator.builtinOptions = getattr(schema, f"{kind}T")()
        return operator

    def _code(self, builtin: int) -> int:
        if builtin not in self._codes:
            code = self._schema.OperatorCodeT()
            # Old readers look into the deprecated field, which holds codes below 127.
            code.builtinCode = code.deprecatedBuiltinCode = builtin
            code.version = 1
            self._tree.operatorCodes.append(code)
            self._codes[builtin] = len(self._tree.operatorCodes) - 1
        return self._codes[builtin]

    def _float_zeros(self, graph: Any, like: Any) -> int:
        """A constant of the state's shape; its place among the graph's tensors."""
        buffer, constant = self._schema.BufferT(), self._schema.TensorT()
        buffer.data = np.zeros(4 * int(np.prod(like.shape)), np.uint8)
        self._tree.buffers.append(buffer)
        constant.name = like.name + b"/zeros"
        constant.shape, constant.type = like.shape, self._schema.TensorType.FLOAT32
        constant.buffer = len(self._tree.buffers) - 1
        graph.tensors.append(constant)
        return len(graph.tensors) - 1

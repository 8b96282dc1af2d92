"""Makes recurrent operators start every call from the same state.

UNIDIRECTIONAL_SEQUENCE_LSTM keeps its states in variable tensors, so that a call continues where the previous one ended
(tensorflow/lite/kernels/unidirectional_sequence_lstm.cc); ONNX's LSTM starts from zero. Therefore operators that write zeros into
the states are inserted before it. The converter also makes it clip the cell state at 10, which ONNX does not do; this is removed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bundler.tflite.flatbuffer import packed

_HIDDEN_STATE, _CELL_STATE = 18, 19
"""Indices of the operator's inputs (unidirectional_sequence_lstm.cc, lstm_shared.h)."""


def start_from_zero(file: bytes) -> bytes:
    """Return the .tflite file with LSTM states reset to zero in every call; a file without LSTMs is returned unchanged."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(bytearray(file), 0)
    lstm = schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM
    if not any(model.OperatorCodes(i).BuiltinCode() == lstm for i in range(model.OperatorCodesLength())):
        return file
    tree = schema.ModelT.InitFromObj(model)
    reset = _StateReset(tree, schema)
    for graph in tree.subgraphs:
        operators = []
        for operator in graph.operators:
            if tree.operatorCodes[operator.opcodeIndex].builtinCode == lstm:
                operator.builtinOptions.cellClip = 0.0
                operators += [reset.operator_for(graph, int(operator.inputs[i])) for i in (_HIDDEN_STATE, _CELL_STATE)]
            operators.append(operator)
        graph.operators = operators
    return packed(tree, size=len(file))


class _StateReset:
    """Makes operators that write zeros into a state.

    ZEROS_LIKE of a constant writes floats; QUANTIZE of float zeros writes the zero point of a quantized state.
    """

    def __init__(self, tree: Any, schema: Any) -> None:
        self._tree = tree
        self._schema = schema
        self._codes: dict[int, int] = {}

    def operator_for(self, graph: Any, state: int) -> Any:
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
            # Old readers use the deprecated field, which holds codes below 127.
            code.builtinCode = code.deprecatedBuiltinCode = builtin
            code.version = 1
            self._tree.operatorCodes.append(code)
            self._codes[builtin] = len(self._tree.operatorCodes) - 1
        return self._codes[builtin]

    def _float_zeros(self, graph: Any, like: Any) -> int:
        """Add a constant of the state's shape; return its index among the graph's tensors."""
        buffer, constant = self._schema.BufferT(), self._schema.TensorT()
        buffer.data = np.zeros(4 * int(np.prod(like.shape)), np.uint8)
        self._tree.buffers.append(buffer)
        constant.name = like.name + b"/zeros"
        constant.shape, constant.type = like.shape, self._schema.TensorType.FLOAT32
        constant.buffer = len(self._tree.buffers) - 1
        graph.tensors.append(constant)
        return len(graph.tensors) - 1

"""Computes a node in a wider dtype where its operator does not allow the dtype of its operands.

torch writes some nodes that ONNX does not define: Add and Mul of booleans (logical or, and), TopK of booleans, IsInf of integers,
Conv of int64 (torch 2.13). No runtime runs them.

1. All operands of a type variable (the type constraints of the operator's page) have one dtype, which the operator does not
   allow. They are cast to the first dtype of WIDER that it allows. If there is none, the node is left as it is.
2. One operand is a float and others of its type variable are integers or booleans (Div in torch.masked.var). These are cast to
   the float's dtype, as PyTorch promotes them.
3. Outputs of the same type variable are cast back, to the dtype that the model declares for them. A number becomes True unless
   it is 0, so the sum of booleans is their `or`, and the product their `and`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import onnx
import onnx_ir as ir

from bundler.graph.casts import cast_operand, cast_result

_T = ir.DataType
_SMALL_INTEGERS = (_T.INT8, _T.UINT8, _T.INT16, _T.UINT16)
WIDER: dict[ir.DataType, tuple[ir.DataType, ...]] = {
    _T.BOOL: (_T.INT32, _T.INT64, _T.FLOAT),
    **dict.fromkeys(_SMALL_INTEGERS, (_T.INT32, _T.INT64, _T.FLOAT)),
    _T.INT32: (_T.INT64, _T.DOUBLE, _T.FLOAT),
    _T.INT64: (_T.DOUBLE, _T.FLOAT),
    _T.FLOAT16: (_T.FLOAT, _T.DOUBLE),
    _T.BFLOAT16: (_T.FLOAT, _T.DOUBLE),
}
"""The dtypes that hold the values of another dtype, in the order of preference. Of int64, float64 holds those below 2^53."""
_REAL = (
    "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cos", "Cosh", "Erf", "Exp", "Log", "Pow", "Reciprocal", "Sigmoid", "Sin",
    "Sinh", "Softmax", "Softplus", "Sqrt", "Tan", "Tanh",
)  # fmt: skip
"""Operators whose result is not an integer where their operands are: PyTorch's result is a float, but the declared one is not."""
FLOATS = (_T.FLOAT, _T.FLOAT16, _T.BFLOAT16, _T.DOUBLE)
_COUNTS = (_T.BOOL, *_SMALL_INTEGERS, _T.INT32, _T.INT64)


class WidenOperands(ir.passes.InPlacePass):
    """Requires dtypes; leaves no node of ONNX's own operators whose operands it can widen."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Cast the operands of nodes that ONNX does not define, and their results."""
        modified = False
        for graph in model.graphs():
            opset = graph.opset_imports.get("") or model.opset_imports.get("", 0)
            for node in list(graph):
                for variable in _variables(node.op_type, opset) if node.domain == "" else ():
                    modified = _widen(node, variable) or modified
        return ir.passes.PassResult(model, modified=modified)


@dataclass(frozen=True)
class _Variable:
    """A type variable of an operator.

    Attributes:
        allowed: the dtypes that it stands for.
        inputs: whether each formal input has it; the last one of a variadic operator stands for all further ones.
        outputs: likewise.
    """

    allowed: frozenset[ir.DataType]
    inputs: tuple[bool, ...]
    outputs: tuple[bool, ...]


@lru_cache(maxsize=1024)
def _variables(operator: str, opset: int) -> tuple[_Variable, ...]:
    try:
        schema = onnx.defs.get_schema(operator, opset, "")
    except onnx.defs.SchemaError:
        return ()
    if any("(tensor(" in text for constraint in schema.type_constraints for text in constraint.allowed_type_strs):
        return ()  # a sequence or an optional cannot be cast back
    return tuple(
        _Variable(
            frozenset(filter(None, map(_dtype, constraint.allowed_type_strs))),
            tuple(p.type_str == constraint.type_param_str for p in schema.inputs),
            tuple(p.type_str == constraint.type_param_str for p in schema.outputs),
        )
        for constraint in schema.type_constraints
    )


def _dtype(text: str) -> ir.DataType | None:
    """Return the dtype of `tensor(float)`, or None for a sequence, an optional, or a dtype that is not in the table."""
    name = text.removeprefix("tensor(").removesuffix(")").upper()
    return None if "(" in name or name not in ir.DataType.__members__ else ir.DataType[name]


def _widen(node: ir.Node, variable: _Variable) -> bool:
    places = [index for index, value in enumerate(node.inputs) if value is not None and _has(variable.inputs, index)]
    dtypes = {value.dtype for index in places if (value := node.inputs[index]) is not None}
    dtype, wider = _types({dtype for dtype in dtypes if dtype is not None}, variable.allowed)
    if dtype is None or wider is None or (node.op_type in _REAL and dtype not in FLOATS):
        return False
    for index in places:
        value = node.inputs[index]
        assert value is not None
        if value.dtype is not wider:  # torch declares no dtype for the result of CastLike
            node.replace_input_with(index, cast_operand(node, value, wider, f"{node.name}_wide_{index}"))
    for index, value in enumerate(node.outputs):
        declared = value.dtype or dtype
        if _has(variable.outputs, index) and declared != wider:
            cast_result(node, value, wider, declared)
    return True


def _types(
    dtypes: Collection[ir.DataType], allowed: Collection[ir.DataType]
) -> tuple[ir.DataType | None, ir.DataType | None]:
    """Return the dtype of the results and the one to compute in; None, None for a node to leave as it is."""
    floats = [dtype for dtype in dtypes if dtype in FLOATS]
    if len(dtypes) > 1:
        others = [dtype for dtype in dtypes if dtype not in FLOATS]
        return (floats[0], floats[0]) if len(floats) == 1 and all(dtype in _COUNTS for dtype in others) else (None, None)
    dtype = next(iter(dtypes), None)
    if dtype is None or dtype in allowed:
        return None, None
    return dtype, next((candidate for candidate in WIDER.get(dtype, ()) if candidate in allowed), None)


def _has(formal: Sequence[bool], index: int) -> bool:
    return formal[min(index, len(formal) - 1)] if formal else False

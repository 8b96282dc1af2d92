"""Gives the operands of a node one float dtype where its operator requires that and the model has several.

torch's optimizer computes constants in float32 when it folds them (Conv + BatchNormalization in bfloat16, torch 2.13), so the
model has float32 weights beside bfloat16 data. ONNX allows one type for all operands that share a type variable (the type
constraints of each operator's page), and no runtime runs such a node.

1. The operands of one type variable have different float types (float16, bfloat16, float32, float64).
2. The type of the node is that of the operands computed at run time: constants are cast to it. If these differ, or all are
   constants, it is the widest.
3. A normalization takes the widest type of all: PyTorch accepts half-precision data with float32 parameters, and computes in
   float32.
4. An output of the same type variable keeps the type that the model declares for it: where that is another one, a Cast follows.

A model in which all operands agree is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import onnx
import onnx_ir as ir

from bundler.graph.casts import cast_operand, cast_result
from bundler.graph.walk import all_graphs

_FLOATS = (ir.DataType.BFLOAT16, ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE)
_RANK = {dtype: rank for rank, dtype in enumerate(_FLOATS)}
_NORMALIZATIONS = ("LayerNormalization", "GroupNormalization", "InstanceNormalization", "RMSNormalization")
_VARIADIC = onnx.defs.OpSchema.FormalParameterOption.Variadic


class UniteOperandDtypes(ir.passes.InPlacePass):
    """Requires dtypes; leaves no node whose operands of one type variable differ in their float type."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Cast the operands that differ from the others of their node."""
        editor = _Casts()
        for graph in all_graphs(model):
            opset = graph.opset_imports.get("") or model.opset_imports.get("", 0)
            for node in list(graph):
                for inputs, outputs in _groups(node, opset):
                    editor.unite(node, inputs, outputs)
        editor.replace_unused()
        return ir.passes.PassResult(model, modified=editor.changed)


Group = tuple[tuple[int, ...], tuple[int, ...]]


def _groups(node: ir.Node, opset: int) -> Iterator[Group]:
    """Yield the positions of inputs and of outputs that share a type variable, if their float types differ."""
    for inputs, outputs in _type_variables(node.op_type, opset, len(node.inputs), len(node.outputs)) if not node.domain else ():
        dtypes = {value.dtype for index in inputs if (value := node.inputs[index]) is not None and value.dtype is not None}
        if len(dtypes) > 1 and dtypes <= set(_FLOATS):
            yield inputs, outputs


@lru_cache(maxsize=1024)
def _type_variables(operator: str, opset: int, inputs: int, outputs: int) -> tuple[Group, ...]:
    """Return the positions of the inputs and outputs of each type variable that several inputs share."""
    try:
        schema = onnx.defs.get_schema(operator, opset, "")
    except onnx.defs.SchemaError:
        return ()
    variables = [constraint.type_param_str for constraint in schema.type_constraints]
    sides = [_variables_of(schema.inputs, inputs), _variables_of(schema.outputs, outputs)]
    groups = (tuple(_positions(side, variable) for side in sides) for variable in variables)
    return tuple((group[0], group[1]) for group in groups if len(group[0]) > 1)


def _variables_of(parameters: Sequence[onnx.defs.OpSchema.FormalParameter], count: int) -> list[str]:
    """Return the type variable of each actual operand; those of a variadic parameter share one only if it is homogeneous."""
    names = [parameter.type_str for parameter in parameters[:count]]
    if parameters and parameters[-1].option == _VARIADIC:
        last = parameters[-1].type_str if parameters[-1].is_homogeneous else ""
        names = [*names[: len(parameters) - 1], *[last] * (count - len(parameters) + 1)]
    return names


def _positions(names: Sequence[str], variable: str) -> tuple[int, ...]:
    return tuple(index for index, name in enumerate(names) if name == variable)


class _Casts:
    """Casts operands of nodes. A constant is cast once for all nodes that need it in the same type."""

    def __init__(self) -> None:
        self.changed = False
        self._constants: dict[tuple[int, ir.DataType], tuple[ir.Value, ir.Value]] = {}

    def unite(self, node: ir.Node, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Give the inputs at these positions one type, and keep the declared types of the outputs at these positions."""
        target = _target(node, inputs)
        declared = _declared(node, outputs)
        for index in inputs:
            value = node.inputs[index]
            if value is not None and value.dtype not in (None, target):
                node.replace_input_with(index, self._cast(node, value, target))
        for index in outputs:
            value = node.outputs[index]
            value.type = ir.TensorType(target)
            if declared is not None and declared is not target:
                cast_result(node, value, target, declared)
        self.changed = True

    def _cast(self, node: ir.Node, value: ir.Value, target: ir.DataType) -> ir.Value:
        if value.is_initializer() and value.const_value is not None and not value.is_graph_input():
            return self._constant(value, target)
        return cast_operand(node, value, target, f"{value.name}_as_{_name(target)}_{node.name}")

    def _constant(self, value: ir.Value, target: ir.DataType) -> ir.Value:
        """Return the constant in the type."""
        key = (id(value), target)
        if key not in self._constants:
            tensor, graph = value.const_value, value.graph
            assert tensor is not None and isinstance(graph, ir.Graph)
            name = f"{value.name}_as_{_name(target)}"
            array = np.asarray(tensor.numpy()).astype(target.numpy())
            cast = ir.Value(name=name, shape=value.shape, type=ir.TensorType(target))
            cast.const_value = ir.tensor(array, dtype=target, name=name)
            graph.register_initializer(cast)
            self._constants[key] = (value, cast)
        return self._constants[key][1]

    def replace_unused(self) -> None:
        """Remove the constants that are needed only in another type, and give their names to those."""
        for value, cast in self._constants.values():
            graph, name = value.graph, value.name
            if graph is None or value.uses() or value.is_graph_output():
                continue
            assert isinstance(graph, ir.Graph) and name is not None and cast.name is not None
            del graph.initializers[name], graph.initializers[cast.name]
            cast.name = name
            graph.register_initializer(cast)


def _target(node: ir.Node, inputs: Sequence[int]) -> ir.DataType:
    values = [value for index in inputs if (value := node.inputs[index]) is not None and value.dtype is not None]
    computed = [value for value in values if not _is_constant(value)]
    if node.op_type not in _NORMALIZATIONS and computed:
        values = computed
    return max((value.dtype for value in values if value.dtype is not None), key=_RANK.__getitem__)


def _is_constant(value: ir.Value) -> bool:
    if value.is_initializer():
        return not value.is_graph_input()
    producer = value.producer()
    return producer is not None and producer.op_type == "Constant"


def _declared(node: ir.Node, outputs: Sequence[int]) -> ir.DataType | None:
    """Return the float type that the model declares for the outputs at these positions."""
    dtypes = [node.outputs[index].dtype for index in outputs]
    return next((dtype for dtype in dtypes if dtype in _RANK), None)


def _name(dtype: ir.DataType) -> str:
    return dtype.name.lower()

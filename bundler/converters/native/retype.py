"""Rewrites traced functions: the operators of a plan compute in bfloat16, with casts at the borders, from shared variables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bundler.converters.native.bfloat16 import PRODUCTS, Plan
from bundler.converters.native.model import NativeModel
from bundler.converters.native.tensors import Tensor
from bundler.errors import ConversionError

CONSTANT_BYTES = 32 << 20
"""Weights of products are constants up to this size in total. oneDNN re-orders a constant once, and a variable in every call: at
batch 1, ResNet-18 takes 0.75 and BERT 0.8 of the time with constants. The price is memory: TensorFlow keeps about 12 copies of a
graph while it is loaded and optimized (23 MB of ResNet-18 take 255 MB; as variables, 58 MB)."""

_TYPE = {"ReadVariableOp": "dtype", "GatherNd": "Tparams", "GatherV2": "Tparams"}
"""The attribute that holds the type of an operator's floats, where it is not T."""


class Bfloat16Model(NativeModel):
    """A converted model whose dense products compute in bfloat16; its signatures are those of the model that it is made from.

    Args:
        model: the model in float32, whose derived signatures are left out.

    Raises:
        ConversionError: the model has no float32 products.
    """

    def __init__(self, model: NativeModel) -> None:
        tf.Module.__init__(self)
        self._handlers, self._graphs, self._store = model._handlers, model._graphs, model._store
        self.permutations = model.permutations
        self.signatures = {name: model.signatures[name] for name in model._graphs}
        functions = {name: model._functions[name] for name in model._graphs}
        self._functions, self._variables = in_bfloat16(functions, model._variables)
        self._methods, self._input_adapters = {}, ()


def in_bfloat16(functions: Mapping[str, Any], variables: Sequence[Any]) -> tuple[dict[str, Any], list[Any]]:
    """Return functions that compute in bfloat16 what `Plan` chooses, and their variables. Inputs and outputs keep their types.

    The weights of a single function's products become constants, up to CONSTANT_BYTES.

    Args:
        functions: ConcreteFunctions by signature.
        variables: the variables that they read; the other captured resources are kept.

    Raises:
        ConversionError: the functions have no float32 products.
    """
    plans = {name: Plan(function.graph) for name, function in functions.items()}
    if not any(plan.low or plan.weights for plan in plans.values()):
        raise ConversionError(
            f"The model has no float32 operator that could compute in bfloat16 ({', '.join(sorted(PRODUCTS))}).",
            fix="leave out precision: bfloat16",
            code="TFB3002",
        )
    handles = {id(variable.handle): variable for variable in variables}
    stored: dict[int, Any] = {}
    for name, plan in plans.items():
        for outer, inner in functions[name].graph.captures:
            if inner.op.name in plan.weights and id(outer) in handles and id(outer) not in stored:
                stored[id(outer)] = _in_bfloat16(handles[id(outer)])
    constants = _constants(functions, plans, stored)
    rewritten = {name: _Rewriter(functions[name], plan, stored, constants).function() for name, plan in plans.items()}
    kept = [variable for key, variable in handles.items() if key not in stored]
    return rewritten, [*kept, *(variable for key, variable in stored.items() if key not in constants)]


def _constants(functions: Mapping[str, Any], plans: Mapping[str, Plan], stored: Mapping[int, Any]) -> set[int]:
    """Return the keys of the stored variables that become constants."""
    if len(functions) > 1:
        return set()
    [(name, plan)] = plans.items()
    captures = functions[name].graph.captures
    multiplied = {id(outer) for outer, inner in captures if inner.op.name in plan.multiplied} & stored.keys()
    total = sum(stored[key].shape.num_elements() * tf.bfloat16.size for key in multiplied)
    return multiplied if total <= CONSTANT_BYTES else set()


def _in_bfloat16(variable: Any) -> Any:
    return tf.Variable(tf.cast(variable, tf.bfloat16), trainable=False, name=variable.name.partition(":")[0])


class _Rewriter:
    """Rewrites the graph of one function.

    Args:
        function: the ConcreteFunction.
        plan: the operators that compute in bfloat16.
        stored: variables in bfloat16 by the id of the handle of the one in float32.
        constants: the keys of those that become constants.
    """

    def __init__(self, function: Any, plan: Plan, stored: Mapping[int, Any], constants: Collection[int] = ()) -> None:
        self._function, self._graph, self._plan = function, function.graph, plan
        self._definition = self._graph.as_graph_def()
        self._nodes = {node.name: node for node in self._definition.node}
        self._handles = {
            inner.op.name: stored[id(outer)].handle if id(outer) in stored else outer for outer, inner in self._graph.captures
        }
        self._constants = {inner.op.name: stored[id(outer)] for outer, inner in self._graph.captures if id(outer) in constants}
        self._stored = {inner.op.name for outer, inner in self._graph.captures if id(outer) in stored}
        self._casts: dict[tuple[str, tf.DType], str] = {}
        self._written: list[Any] = []

    def function(self) -> Any:
        """Return the rewritten function, with the same names of inputs and outputs."""
        for operator in self._graph.get_operations():
            if operator.type != "Placeholder":
                self._write(operator)
        outputs = [self._as(tensor, tensor.dtype) for tensor in self._graph.outputs]
        used = {name.removeprefix("^") for node in self._written for name in map(_full, node.input)} | set(map(_full, outputs))
        written = [node for node in self._written if node.op != "Const" or {node.name, f"{node.name}:0"} & used]
        definition = tf.compat.v1.GraphDef(node=written, versions=self._definition.versions, library=self._definition.library)
        names = sorted(self._function.structured_outputs)  # tf.nest orders a dict by its keys
        inputs = [tensor for tensor in self._graph.inputs if tensor.op.name not in self._handles]

        def rewritten(*tensors: Tensor) -> dict[str, Tensor]:
            outer = tf.compat.v1.get_default_graph()
            bound = {tensor.name: own for tensor, own in zip(inputs, tensors, strict=True)}
            handles = {name: handle for name, handle in self._handles.items() if name not in self._constants}
            bound |= {f"{name}:0": outer.capture(handle) for name, handle in handles.items()}
            results = tf.graph_util.import_graph_def(
                definition,
                input_map={name: tensor for name, tensor in bound.items() if name in used},
                return_elements=list(map(_full, outputs)),
                name="",
            )
            return dict(zip(names, results, strict=True))

        specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.op.name) for tensor in inputs]
        return tf.function(rewritten, autograph=False).get_concrete_function(*specs)

    def _write(self, operator: Any) -> None:
        if operator.type == "ReadVariableOp" and operator.inputs[0].op.name in self._constants:
            self._written.append(_constant_node(operator.name, self._constants[operator.inputs[0].op.name].numpy(), tf.bfloat16))
            return
        node = tf.compat.v1.NodeDef()
        node.CopyFrom(self._nodes[operator.name])
        low = operator.name in self._plan.low
        wanted = tf.bfloat16 if low else tf.float32
        inputs = [self._as(tensor, wanted if tensor.dtype == tf.float32 else tensor.dtype) for tensor in operator.inputs]
        control = [name for name in node.input if name.startswith("^")]
        node.input[:] = [*inputs, *control]
        if low or self._is_stored(operator):
            node.attr[_TYPE.get(operator.type, "T")].type = tf.bfloat16.as_datatype_enum
        node.attr.pop("_output_shapes", None)
        self._written.append(node)

    def _is_stored(self, operator: Any) -> bool:
        return operator.type == "ReadVariableOp" and operator.inputs[0].op.name in self._stored

    def _dtype(self, tensor: Tensor) -> tf.DType:
        """Return the type of a tensor in the rewritten graph."""
        low = tensor.op.name in self._plan.low or self._is_stored(tensor.op)
        return tf.bfloat16 if low and tensor.dtype == tf.float32 else tensor.dtype

    def _as(self, tensor: Tensor, dtype: tf.DType) -> str:
        """Return the name of the tensor in this type, with a cast if it has another one; a constant is cast here."""
        name = str(tensor.name).removesuffix(":0")
        if self._dtype(tensor) == dtype:
            return name
        if (name, dtype) not in self._casts:
            self._casts[name, dtype] = f"{name.replace(':', '_')}/{dtype.name}"
            constant = self._constant(tensor)
            if constant is not None:
                node = _constant_node(self._casts[name, dtype], constant, dtype)
            else:
                node = tf.compat.v1.NodeDef(name=self._casts[name, dtype], op="Cast", input=[name])
                node.attr["SrcT"].type = self._dtype(tensor).as_datatype_enum
                node.attr["DstT"].type = dtype.as_datatype_enum
            self._written.append(node)
        return self._casts[name, dtype]

    def _constant(self, tensor: Tensor) -> Any:
        return tf.make_ndarray(self._nodes[tensor.op.name].attr["value"].tensor) if tensor.op.type == "Const" else None


def _constant_node(name: str, array: Any, dtype: tf.DType) -> Any:
    node = tf.compat.v1.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = dtype.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(_as_proto(array.astype(dtype.as_numpy_dtype), dtype))
    return node


def _as_proto(array: Any, dtype: tf.DType) -> Any:
    """Return an array as a TensorProto with two bytes per value; tf.make_tensor_proto writes three or more."""
    proto = tf.make_tensor_proto(np.zeros(0), tf.float32)
    proto.dtype = dtype.as_datatype_enum
    proto.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    proto.tensor_content = np.ascontiguousarray(array).tobytes()
    return proto


def _full(name: str) -> str:
    """Return the name of a tensor with its number: `x:0` for `x`."""
    return name if ":" in name or name.startswith("^") else f"{name}:0"

"""Chooses the operators of a traced graph that compute in bfloat16; all others stay in float32.

1. Dense products: convolutions and matrix products of float32. Measured on a CPU with AVX-512 BF16 (TensorFlow 2.21, oneDNN),
   they take 0.5 to 0.7 of the time of float32. Outer products and products with integers (positions and the angles of a rotary
   embedding) stay in float32, because bfloat16 counts only to 256.
2. What TensorFlow fuses with a product: a bias, a sum with another bfloat16 tensor, Relu, Gelu; and Swish, which has a kernel.
3. Operators that only move or select values, if their input is in bfloat16 or all their readers are.
4. A depthwise convolution of bfloat16 data takes the time of float32, and saves the casts.
5. A sum or product with a broadcast operand between two operators in bfloat16, such as the scale of squeeze-and-excitation.

Sums, means, norms, softmax and other functions stay in float32: their kernels sum in bfloat16, or take 2 to 5 times as long.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import tensorflow as tf

from bundler.converters.native.tensors import Tensor

PRODUCTS = frozenset({
    "BatchMatMulV2", "Conv2D", "Conv2DBackpropInput", "Conv3D", "Conv3DBackpropInputV2", "MatMul",
})  # fmt: skip
_MOVERS = frozenset({
    "BatchToSpaceND", "BroadcastTo", "ConcatV2", "DepthToSpace", "EnsureShape", "ExpandDims", "GatherNd", "GatherV2", "Identity",
    "MaxPool", "MirrorPad", "Pack", "Pad", "Reshape", "ReverseV2", "Slice", "SpaceToBatchND", "SpaceToDepth", "Split", "SplitV",
    "Squeeze", "StridedSlice", "Tile", "Transpose", "Unpack",
})  # fmt: skip
_LOOK_UPS = frozenset({"GatherNd", "GatherV2"})
_FUSED = frozenset({"AddN", "BiasAdd", "DepthwiseConv2dNative", "Relu"})
_BROADCAST = frozenset({"Add", "AddV2", "Mul", "Sub"})
_ACTIVATION = frozenset({"Add", "AddV2", "Erf", "Erfc", "Mul", "Neg", "Pow", "Sigmoid", "Square", "Tanh"})
_CURVES = frozenset({"Erf", "Erfc", "Sigmoid", "Tanh"})
_WEIGHTS = frozenset({"Const", "ReadVariableOp"})
_COUNTERS = (tf.int32, tf.int64, tf.uint32, tf.uint64)


class Plan:
    """The operators of a graph that compute in bfloat16.

    Args:
        graph: the FuncGraph of a ConcreteFunction.

    Attributes:
        low: names of the operators.
        weights: names of the placeholders of the variables that are stored in bfloat16: those that such an operator or an
            operator of STORED reads.
        multiplied: those of them that only products read.
    """

    STORED = frozenset({"BlockLSTMV2", "DepthwiseConv2dNative", "Einsum"})
    """Operators that compute in float32 from weights that are stored in bfloat16."""

    def __init__(self, graph: Any) -> None:
        self._operators = graph.get_operations()
        self._outputs = {tensor.ref() for tensor in graph.outputs}
        self._readers: dict[Any, list[Any]] = defaultdict(list)
        for operator in self._operators:
            for tensor in operator.inputs:
                self._readers[tensor.ref()].append(operator)
        self.low = {operator.name for operator in self._operators if _is_product(operator)}
        while added := set(self._followers()):
            self.low |= added
        self.weights = set(self._stored())
        self.multiplied = self.weights - set(self._otherwise_read())

    def _followers(self) -> Iterator[str]:
        """Yield operators that compute in bfloat16 because of those around them."""
        for operator in self._operators:
            if operator.name in self.low or not _floats(operator.inputs):
                continue
            if _moves(operator):
                follows = self._reads_low(operator) or self._is_read_low(operator) or _looks_up(operator)
            elif operator.type in _FUSED:
                follows = self._reads_low(operator)
            else:
                follows = operator.type in _BROADCAST and self._is_between(operator)
            if follows:
                yield operator.name
            elif operator.type in _CURVES:
                yield from self._activation(operator)

    def _reads_low(self, operator: Any) -> bool:
        data = [tensor for tensor in _floats(operator.inputs) if not _is_weight(tensor)]
        return bool(data) and all(tensor.op.name in self.low for tensor in data)

    def _is_read_low(self, operator: Any) -> bool:
        tensors = _floats(operator.outputs)
        return bool(tensors) and all(
            tensor.ref() not in self._outputs
            and self._readers[tensor.ref()]
            and all(reader.name in self.low for reader in self._readers[tensor.ref()])
            for tensor in tensors
        )

    def _is_between(self, operator: Any) -> bool:
        """Whether all readers are in bfloat16, and so is the one input that has the size of the result."""
        if not self._is_read_low(operator):
            return False
        full = [tensor for tensor in operator.inputs if _size(tensor) == _size(operator.outputs[0])]
        return bool(full) and all(tensor.op.name in self.low for tensor in full)

    def _activation(self, curve: Any) -> Iterator[str]:
        """Yield the operators of a Gelu or Swish of a bfloat16 tensor that has the given curve.

        They are all operators between that tensor and one product with it, and read nothing else but constants.
        """
        for tensor in self._sources(curve):
            region = self._region(tensor)
            kinds = {operator.type for operator in region}
            if curve.name in {operator.name for operator in region} and "Mul" in kinds and kinds <= _ACTIVATION:
                yield from (operator.name for operator in region)

    def _sources(self, operator: Any) -> Iterator[Tensor]:
        """Yield the bfloat16 tensor that an operator computes from, through elementwise operators."""
        for _ in range(6):
            data = [tensor for tensor in _floats(operator.inputs) if not _is_weight(tensor)]
            for tensor in data:
                if tensor.op.name in self.low:
                    yield tensor
                    return
            if not data:
                return
            operator = data[0].op

    def _region(self, source: Tensor) -> list[Any]:
        """Return the elementwise operators that read only the source, each other and constants."""
        region: dict[str, Any] = {}
        waiting = list(self._readers[source.ref()])
        while waiting:
            operator = waiting.pop()
            inputs = [tensor for tensor in _floats(operator.inputs) if not _is_weight(tensor)]
            known = all(tensor is source or tensor.ref() == source.ref() or tensor.op.name in region for tensor in inputs)
            if operator.name not in region and operator.type in _ACTIVATION and known:
                region[operator.name] = operator
                waiting += [reader for tensor in operator.outputs for reader in self._readers[tensor.ref()]]
        return list(region.values())

    def _stored(self) -> Iterator[str]:
        for operator in self._operators:
            if operator.name in self.low or operator.type in self.STORED:
                for tensor in _floats(operator.inputs):
                    read = _unmoved(tensor).op
                    if read.type == "ReadVariableOp":
                        yield read.inputs[0].op.name


    def _otherwise_read(self) -> Iterator[str]:
        """Yield the placeholders of variables that something else than a product in bfloat16 reads, moved or not."""
        for operator in self._operators:
            if operator.type == "ReadVariableOp":
                waiting = [reader for tensor in operator.outputs for reader in self._readers[tensor.ref()]]
                while waiting:
                    reader = waiting.pop()
                    if _moves(reader) and reader.type not in _LOOK_UPS:
                        waiting += [further for tensor in reader.outputs for further in self._readers[tensor.ref()]]
                    elif not (reader.type in PRODUCTS and reader.name in self.low):
                        yield operator.inputs[0].op.name
            elif any(tensor.dtype == tf.resource for tensor in operator.inputs):
                yield from (tensor.op.name for tensor in operator.inputs if tensor.dtype == tf.resource)


def _is_product(operator: Any) -> bool:
    if operator.type not in PRODUCTS or not all(tensor.dtype == tf.float32 for tensor in operator.outputs):
        return False
    operands = _floats(operator.inputs)
    return not any(map(_counts, operands)) and not _is_outer(operator)


def _counts(tensor: Tensor) -> bool:
    """Whether a tensor has the values of integers, which may exceed those that bfloat16 can tell apart."""
    source = _unmoved(tensor).op
    return bool(source.type == "Cast" and source.inputs[0].dtype in _COUNTERS)


def _is_outer(operator: Any) -> bool:
    if operator.type not in ("MatMul", "BatchMatMulV2"):
        return False
    flag = "transpose_a" if operator.type == "MatMul" else "adj_x"
    shape = operator.inputs[0].shape
    return bool(shape.rank and shape[-2 if operator.get_attr(flag) else -1] == 1)


def _moves(operator: Any) -> bool:
    """Whether an operator only moves or selects values. An Einsum of one operand is a transposition."""
    return operator.type in _MOVERS or (operator.type == "Einsum" and len(operator.inputs) == 1)


def _looks_up(operator: Any) -> bool:
    """Whether an operator reads rows of a variable, such as the embeddings of tokens or the weights of experts."""
    return bool(operator.type in _LOOK_UPS and _unmoved(operator.inputs[0]).op.type == "ReadVariableOp")


def _unmoved(tensor: Tensor) -> Tensor:
    """Return the tensor whose values an operator moved."""
    while _moves(tensor.op) and tensor.op.inputs and tensor.op.inputs[0].dtype == tensor.dtype:
        tensor = tensor.op.inputs[0]
    return tensor


def _is_weight(tensor: Tensor) -> bool:
    return _unmoved(tensor).op.type in _WEIGHTS


def _floats(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor.dtype == tf.float32]


def _size(tensor: Tensor) -> tuple[int, int]:
    """Return the number of dynamic dims and the product of the others, which tells a broadcast operand from a full one."""
    dims = tensor.shape.as_list() if tensor.shape.rank is not None else []
    return dims.count(None), prod(dim for dim in dims if dim is not None)

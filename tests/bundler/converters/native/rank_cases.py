"""Nodes of every operator that takes tensors of any rank, at ranks 0 to 9, with the results of ONNX's page.

No two neighbouring axes of an operand are treated alike where the operator allows it, because TensorFlow merges such axes
before it looks at the rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper

from bundler.values.arrays import Array
from tests.bundler.converters.native.oracle import array

MOST_AXES = 9


@dataclass(frozen=True)
class RankCase:
    """A node over tensors of a certain rank.

    Attributes:
        op_type: the operator.
        rank: the rank that the case is about.
        detail: what distinguishes it from other cases of the operator and rank.
        inputs: the model's inputs, in the node's order.
        constants: the node's other inputs, which come after those.
        attributes: the node's attributes.
        order: the names of the node's inputs if they are not those of inputs and constants; "" for one that is left out.
        outputs: how many outputs the node has.
    """

    op_type: str
    rank: int
    detail: str
    inputs: Mapping[str, Array]
    constants: Mapping[str, Array] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    order: Sequence[str] | None = None
    outputs: int = 1

    @property
    def name(self) -> str:
        """Operator, rank and detail."""
        return f"{self.op_type}-{self.rank}" + (f"-{self.detail}" if self.detail else "")

    @property
    def node(self) -> onnx.NodeProto:
        """The node."""
        names = list(self.order) if self.order is not None else [*self.inputs, *self.constants]
        return helper.make_node(self.op_type, names, [f"y{i}" for i in range(self.outputs)], **self.attributes)


Cases = Iterator[RankCase]


def sizes(rank: int) -> tuple[int, ...]:
    """Return sizes of `rank` axes, no two neighbours equal."""
    return tuple((2, 3)[axis % 2] for axis in range(rank))


def _places(rank: int) -> list[int]:
    """Return the first, a middle and the last axis."""
    return sorted({0, rank // 2, rank - 1}) if rank else []


def _alternating(rank: int) -> tuple[Array, Array]:
    """Return two arrays of which each is broadcast along every other axis."""
    whole = sizes(rank)
    a = tuple(n if axis % 2 else 1 for axis, n in enumerate(whole))
    b = tuple(1 if axis % 2 else n for axis, n in enumerate(whole))
    return array(*a, seed=1), array(*b, seed=2)


def _typed(x: Array, dtype: Any) -> Array:
    if np.dtype(dtype).kind == "b":
        return x > 0
    return (x * 3).astype(dtype) if np.dtype(dtype).kind in "iu" else x.astype(dtype)


def _binary(op_type: str, dtype: Any = np.float32) -> Callable[[int], Cases]:
    def cases(rank: int) -> Cases:
        a, b = (_typed(x, dtype) for x in _alternating(rank))
        divisor = b + np.asarray(9, dtype) if op_type in ("Div", "Mod") else b
        yield RankCase(op_type, rank, np.dtype(dtype).name, {"a": a, "b": divisor})

    return cases


def _variadic(op_type: str) -> Callable[[int], Cases]:
    def cases(rank: int) -> Cases:
        a, b = _alternating(rank)
        yield RankCase(op_type, rank, "", {"a": a, "b": b, "c": array(*sizes(rank), seed=3)})

    return cases


def _where(rank: int) -> Cases:
    a, b = _alternating(rank)
    condition = tuple(n if axis % 3 == 0 else 1 for axis, n in enumerate(sizes(rank)))
    yield RankCase("Where", rank, "", {"c": array(*condition, seed=4) > 0, "a": a, "b": b})
    yield RankCase("Where", rank, "full", {"c": array(*sizes(rank), seed=4) > 0, "a": a, "b": b})


def _prelu(rank: int) -> Cases:
    slope = tuple(n if axis % 2 else 1 for axis, n in enumerate(sizes(rank)))
    yield RankCase("PRelu", rank, "", {"x": array(*sizes(rank)), "slope": array(*slope, seed=5)})


def _along(op_type: str, **attributes: Any) -> Callable[[int], Cases]:
    def cases(rank: int) -> Cases:
        for axis in _places(rank):
            yield RankCase(op_type, rank, f"axis {axis}", {"x": array(*sizes(rank))}, {}, {"axis": axis, **attributes})

    return cases


def _reduce(op_type: str, axes_input: bool = True) -> Callable[[int], Cases]:
    def cases(rank: int) -> Cases:
        x = np.abs(array(*sizes(rank))) + np.float32(0.5)
        for first in (0, 1):
            axes = list(range(first, rank, 2))
            for keepdims in (0, 1) if axes else ():
                constants = {"axes": np.array(axes, np.int64)}
                yield RankCase(op_type, rank, f"from {first} {keepdims}", {"x": x}, constants, {"keepdims": keepdims})
        yield RankCase(op_type, rank, "all", {"x": x}, {}, {"keepdims": 0})

    return cases


def _arg(op_type: str) -> Callable[[int], Cases]:
    def cases(rank: int) -> Cases:
        for axis in _places(rank):
            for last in (0, 1):
                attributes = {"axis": axis, "keepdims": last, "select_last_index": last}
                x = np.round(array(*sizes(rank)))
                yield RankCase(op_type, rank, f"axis {axis} {last}", {"x": x}, {}, attributes)

    return cases


def _matmul(rank: int) -> Cases:
    if rank < 2:
        return
    batch = sizes(rank - 2)
    yield RankCase("MatMul", rank, "equal", {"a": array(*batch, 2, 4), "b": array(*batch, 4, 3, seed=1)})
    one = tuple(n if axis % 2 else 1 for axis, n in enumerate(batch))
    other = tuple(1 if axis % 2 else n for axis, n in enumerate(batch))
    yield RankCase("MatMul", rank, "broadcast", {"a": array(*one, 2, 4), "b": array(*other, 4, 3, seed=1)})
    yield RankCase("MatMul", rank, "matrix", {"a": array(4, 4), "b": array(*batch, 4, 3, seed=1)})
    yield RankCase("MatMul", rank, "weight", {"a": array(*batch, 2, 4)}, {"b": array(4, 3, seed=1)})
    yield RankCase("MatMul", rank, "vector", {"a": array(*batch, 2, 4), "b": array(4, seed=1)})
    whole = {"a": _typed(array(*one, 2, 4), np.int8), "b": _typed(array(*other, 4, 3, seed=1), np.int8)}
    yield RankCase("MatMulInteger", rank, "", whole)


def _transpose(rank: int) -> Cases:
    x = {"x": array(*sizes(rank))}
    orders = {"reversed": list(range(rank))[::-1], "mixed": [*range(1, rank, 2), *range(0, rank, 2)]}
    for name, order in orders.items():
        yield RankCase("Transpose", rank, name, x, {}, {"perm": order})


def _tile(rank: int) -> Cases:
    counts = np.array([2 if axis % 2 else 1 for axis in range(rank)], np.int64)
    yield RankCase("Tile", rank, "", {"x": array(*sizes(rank))}, {"repeats": counts})
    yield RankCase("Tile", rank, "run time", {"x": array(*sizes(rank)), "repeats": counts})


def _slice(rank: int) -> Cases:
    x = {"x": array(*sizes(rank))}
    axes = np.arange(0, rank, 2)
    for name, start, end, step in (("inner", 1, 9, 1), ("steps", 0, 9, 2), ("back", 9, -9, -1)):
        vectors = {k: np.full(len(axes), v, np.int64) for k, v in (("starts", start), ("ends", end))}
        tail = {"axes": axes.astype(np.int64), "steps": np.full(len(axes), step, np.int64)}
        if len(axes):
            yield RankCase("Slice", rank, name, x, {**vectors, **tail})
            yield RankCase("Slice", rank, f"{name} run time", {**x, **vectors}, tail)
            yield RankCase("Slice", rank, f"{name} axes at run time", {**x, **vectors, **tail})


def _pad(rank: int) -> Cases:
    if rank == 0:
        return
    x = {"x": array(*sizes(rank))}
    begin = [1 if axis % 2 == 0 else 0 for axis in range(rank)]
    pads = {"pads": np.array([*begin, *[0] * rank], np.int64)}
    for mode in ("constant", "reflect", "edge", "wrap"):
        yield RankCase("Pad", rank, mode, x, pads, {"mode": mode})
        yield RankCase("Pad", rank, f"{mode} run time", {**x, **pads}, {}, {"mode": mode})
    both = np.array([*begin, *begin], np.int64)
    yield RankCase("Pad", rank, "number", x, {"pads": both, "value": np.array(7, np.float32)})
    crop = {"pads": -np.array([*begin, *[0] * rank], np.int64)}
    yield RankCase("Pad", rank, "crop", x, crop)
    yield RankCase("Pad", rank, "crop run time", {**x, **crop})


def _expand(rank: int) -> Cases:
    x = {"x": _alternating(rank)[0]}
    target = {"shape": np.array(sizes(rank), np.int64)}
    yield RankCase("Expand", rank, "", x, target)
    yield RankCase("Expand", rank, "run time", {**x, **target})


def _concat(rank: int) -> Cases:
    for axis in _places(rank):
        yield RankCase(
            "Concat", rank, f"axis {axis}", {"a": array(*sizes(rank)), "b": array(*sizes(rank), seed=1)}, {}, {"axis": axis}
        )


def _split(rank: int) -> Cases:
    x = array(*(4,) * min(rank, 1), *sizes(rank)[1:])
    if rank:
        yield RankCase("Split", rank, "", {"x": x}, {"split": np.array([1, 3], np.int64)}, {"axis": 0}, outputs=2)
        last = np.moveaxis(x, 0, -1)
        yield RankCase("Split", rank, "equal", {"x": last}, {}, {"axis": rank - 1, "num_outputs": 2}, outputs=2)


def _gather(rank: int) -> Cases:
    x = {"x": array(*sizes(rank))}
    for axis in _places(rank):
        for count, indices in enumerate((np.array(1), np.array([1, 0]), np.array([[0, -1], [1, 1]]))):
            if rank + count - 1 > MOST_AXES:
                continue
            yield RankCase("Gather", rank, f"axis {axis} {count}", {**x, "i": indices.astype(np.int64)}, {}, {"axis": axis})
            yield RankCase("Gather", rank, f"axis {axis} {count} known", x, {"i": indices.astype(np.int64)}, {"axis": axis})


def _elements(rank: int) -> Cases:
    x = array(*sizes(rank))
    for axis in _places(rank):
        index = np.random.default_rng(3).integers(0, x.shape[axis], x.shape)
        yield RankCase("GatherElements", rank, f"axis {axis}", {"x": x, "i": index}, {}, {"axis": axis})
        backwards = np.moveaxis(np.broadcast_to(np.arange(x.shape[axis])[::-1], np.moveaxis(x, axis, -1).shape), -1, axis)
        scattered = {"x": x, "i": np.ascontiguousarray(backwards), "u": array(*x.shape, seed=6)}
        for reduction in ("none", "add", "mul", "max", "min"):
            attributes = {"axis": axis, "reduction": reduction}
            yield RankCase("ScatterElements", rank, f"axis {axis} {reduction}", scattered, {}, attributes)


def _nd(rank: int) -> Cases:
    x = array(*sizes(rank))
    for depth in sorted({1, (rank + 1) // 2, rank}) if rank else ():
        index = np.stack([np.random.default_rng(a).permutation(2) for a in range(depth)], -1).astype(np.int64)
        if 1 + rank - depth > MOST_AXES:
            continue
        yield RankCase("GatherND", rank, f"depth {depth}", {"x": x, "i": index - 2 * (index > 0)})
        updates = array(2, *x.shape[depth:], seed=8)
        for reduction in ("none", "add", "mul", "max", "min"):
            scattered = {"x": x, "i": index, "u": updates}
            yield RankCase("ScatterND", rank, f"depth {depth} {reduction}", scattered, {}, {"reduction": reduction})
    if rank > 1:
        batch = x.shape[: rank - 1]
        index = np.zeros((*batch, 1), np.int64)
        yield RankCase("GatherND", rank, "batch", {"x": x, "i": index}, {}, {"batch_dims": rank - 1})


def _cumulative(rank: int) -> Cases:
    for axis in _places(rank):
        for op_type in ("CumSum",):
            constants = {"axis": np.array(axis, np.int64)}
            attributes = {"reverse": axis % 2, "exclusive": int(axis == 0)}
            yield RankCase(op_type, rank, f"axis {axis}", {"x": array(*sizes(rank))}, constants, attributes)
            yield RankCase(op_type, rank, f"axis {axis} run time", {"x": array(*sizes(rank)), **constants}, {}, attributes)


def _top_k(rank: int) -> Cases:
    for axis in _places(rank):
        for largest in (0, 1):
            attributes = {"axis": axis, "largest": largest}
            k = {"k": np.array([2], np.int64)}
            yield RankCase("TopK", rank, f"axis {axis} {largest}", {"x": array(*sizes(rank))}, k, attributes, outputs=2)


def _one_hot(rank: int) -> Cases:
    if not 1 <= rank <= MOST_AXES:
        return
    indices = np.random.default_rng(1).integers(0, 3, sizes(rank - 1)).astype(np.int64)
    constants = {"depth": np.array(3, np.int64), "values": np.array([0.5, 2.0], np.float32)}
    for axis in _places(rank):
        yield RankCase("OneHot", rank, f"axis {axis}", {"i": indices}, constants, {"axis": axis})


def _non_zero(rank: int) -> Cases:
    if rank:
        yield RankCase("NonZero", rank, "", {"x": np.round(array(*sizes(rank)))})
        yield RankCase("NonZero", rank, "bool", {"x": array(*sizes(rank)) > 0})


def _trilu(rank: int) -> Cases:
    if rank >= 2:
        yield RankCase("Trilu", rank, "", {"x": array(*sizes(rank))}, {}, {"upper": rank % 2})


def _compress(rank: int) -> Cases:
    for axis in _places(rank):
        condition = {"c": np.array([True, False, True][: sizes(rank)[axis]])}
        yield RankCase("Compress", rank, f"axis {axis}", {"x": array(*sizes(rank)), **condition}, {}, {"axis": axis})


def _unique(rank: int) -> Cases:
    for axis in _places(rank):
        x = np.concatenate([array(*sizes(rank))] * 2, axis)
        yield RankCase("Unique", rank, f"axis {axis}", {"x": x}, {}, {"axis": axis}, outputs=4)


def _reverse_sequence(rank: int) -> Cases:
    if rank >= 2:
        lengths = {"n": np.array([2, 1, 2][: sizes(rank)[1]], np.int64)}
        attributes = {"time_axis": 0, "batch_axis": 1}
        yield RankCase("ReverseSequence", rank, "", {"x": array(*sizes(rank)), **lengths}, {}, attributes)


def _layer_norm(rank: int) -> Cases:
    for axis in _places(rank):
        tail = sizes(rank)[axis:]
        constants = {"s": array(*tail, seed=1), "b": array(*tail, seed=2)}
        yield RankCase("LayerNormalization", rank, f"axis {axis}", {"x": array(*sizes(rank))}, constants, {"axis": axis})


def _moments(rank: int) -> Cases:
    if rank >= 2:
        axes = list(range(0, rank, 2))
        yield RankCase("MeanVarianceNormalization", rank, "", {"x": array(*sizes(rank))}, {}, {"axes": axes})


def _channels(rank: int) -> Cases:
    if rank < 2:
        return
    x, c = {"x": array(*sizes(rank))}, 3
    four = {k: np.abs(array(c, seed=i)) + np.float32(0.1) for i, k in enumerate(("s", "b", "m", "v"))}
    yield RankCase("BatchNormalization", rank, "", x, four)
    yield RankCase("BatchNormalization", rank, "computed", {**x, **four})
    if rank >= 3:
        yield RankCase("InstanceNormalization", rank, "", x, {k: four[k] for k in "sb"})
        even = {"x": array(2, 4, *sizes(rank)[2:])}
        vectors = {k: array(4, seed=i) for i, k in enumerate("sb")}
        yield RankCase("GroupNormalization", rank, "", even, vectors, {"num_groups": 2})
        yield RankCase("GlobalAveragePool", rank, "", x)
    if 3 <= rank <= 5:  # ONNX Runtime pools no more axes
        yield RankCase("GlobalMaxPool", rank, "", x)
        yield RankCase("GlobalLpPool", rank, "", x)
    if rank == 4:
        yield RankCase("LRN", rank, "", x, {}, {"size": 3})


def _windows(rank: int) -> Cases:
    if not 3 <= rank <= 5:
        return
    count = rank - 2
    spatial = (5, 6, 7)[:count]
    x = {"x": array(2, 4, *spatial)}
    for name, attributes in (
        ("", {}), ("dilated", {"dilations": [2] * count}), ("strided", {"strides": [2] * count, "pads": [1] * 2 * count}),
        ("same", {"auto_pad": "SAME_UPPER"}),
    ):  # fmt: skip
        for groups in (1, 2, 4):
            weights = {"w": array(8, 4 // groups, *(3,) * count, seed=1) / 8, "b": array(8, seed=2)}
            yield RankCase("Conv", rank, f"{name} {groups}", x, weights, {"group": groups, **attributes})
            if name != "same":
                weights = {"w": array(4, 2, *(3,) * count, seed=1) / 8, "b": array(2 * groups, seed=2)}
                yield RankCase("ConvTranspose", rank, f"{name} {groups}", x, weights, {"group": groups, **attributes})
        for op_type in ("MaxPool", "AveragePool", "LpPool"):
            yield RankCase(op_type, rank, name, x, {}, {"kernel_shape": [3] * count, **attributes})


def _einsum(rank: int) -> Cases:
    letters = "abcdefghij"[:rank]
    if rank < 2:
        return
    one, x = letters[::2], array(*sizes(rank))
    second = array(*(sizes(rank)[i] for i in range(0, rank, 2)), seed=1)
    yield RankCase("Einsum", rank, "move", {"x": x}, {}, {"equation": f"{letters}->{letters[::-1]}"})
    yield RankCase("Einsum", rank, "scale", {"x": x, "y": second}, {}, {"equation": f"{letters},{one}->{letters}"})
    yield RankCase("Einsum", rank, "sum", {"x": x, "y": second}, {}, {"equation": f"{letters},{one}->{letters[1::2]}"})
    outer = {"x": array(*sizes(rank - rank // 2)), "y": array(*sizes(rank // 2), seed=1)}
    a, b = letters[: rank - rank // 2], letters[rank - rank // 2 :]
    yield RankCase("Einsum", rank, "outer", outer, {}, {"equation": f"{a},{b}->{letters}"})


def _quantize(rank: int) -> Cases:
    x = array(*sizes(rank))
    scale, zero = np.array(0.1, np.float32), np.array(3, np.uint8)
    yield RankCase("QuantizeLinear", rank, "tensor", {"x": x}, {"s": scale, "z": zero})
    yield RankCase("DequantizeLinear", rank, "tensor", {"x": _typed(np.abs(x), np.uint8)}, {"s": scale, "z": zero})
    yield RankCase("DynamicQuantizeLinear", rank, "", {"x": x}, outputs=3)
    for axis in _places(rank):
        count = sizes(rank)[axis]
        per = {"s": np.linspace(0.1, 0.3, count).astype(np.float32), "z": np.arange(count).astype(np.uint8)}
        yield RankCase("QuantizeLinear", rank, f"axis {axis}", {"x": x}, per, {"axis": axis})
        yield RankCase("DequantizeLinear", rank, f"axis {axis}", {"x": _typed(np.abs(x), np.uint8)}, per, {"axis": axis})


def _resize(rank: int) -> Cases:
    if not 1 <= rank <= 7:
        return
    scales = {"scales": np.array([1.0] * max(rank - 2, 0) + [2.0] * min(rank, 2), np.float32)}
    for mode in ("nearest", "linear"):
        attributes = {"mode": mode, "coordinate_transformation_mode": "asymmetric"}
        attributes |= {"nearest_mode": "floor"} if mode == "nearest" else {}
        case = RankCase("Resize", rank, mode, {"x": array(*sizes(rank))}, scales, attributes, order=["x", "", "scales"])
        yield case


def _determinant(rank: int) -> Cases:
    if rank >= 2:
        yield RankCase("Det", rank, "", {"x": array(*sizes(rank - 2), 3, 3)})


def _views(rank: int) -> Cases:
    x = {"x": array(*sizes(rank))}
    yield RankCase("Flatten", rank, "", x, {}, {"axis": rank // 2})
    yield RankCase("Identity", rank, "", x)
    yield RankCase("Shape", rank, "", x)
    yield RankCase("Relu", rank, "", x)
    yield RankCase("Clip", rank, "", x, {"low": np.array(-0.5, np.float32), "high": np.array(0.5, np.float32)})
    yield RankCase("Gelu", rank, "", x)
    yield RankCase("Cast", rank, "", x, {}, {"to": 6})
    if 1 <= rank < MOST_AXES:
        yield RankCase("Unsqueeze", rank, "", x, {"axes": np.array([rank // 2], np.int64)})
        yield RankCase("Squeeze", rank + 1, "", {"x": x["x"][:, None]}, {"axes": np.array([1], np.int64)})


def _tensor_scatter(rank: int) -> Cases:
    if rank >= 2:
        past = array(2, *sizes(rank - 2)[: rank - 3], 4, 3) if rank > 2 else array(2, 4)
        axis = past.ndim - 2 if rank > 2 else 1
        update = np.take(past, [0, 1], axis) + np.float32(1)
        inputs = {"p": past, "u": update, "w": np.array([1, 2], np.int64)}
        yield RankCase("TensorScatter", rank, "", inputs, {}, {"axis": axis})


FAMILIES: Sequence[Callable[[int], Cases]] = (
    *(_binary(op_type) for op_type in ("Add", "Sub", "Mul", "Div", "Pow", "Less", "Equal", "GreaterOrEqual")),
    *(_binary(op_type, np.int64) for op_type in ("Add", "Div", "Mod", "BitwiseAnd", "Equal")),
    *(_binary(op_type, np.bool_) for op_type in ("And", "Or", "Xor")),
    *(_variadic(op_type) for op_type in ("Max", "Min", "Sum", "Mean")),
    _where, _prelu, _along("Softmax"), _along("LogSoftmax"), _along("Hardmax"), _along("LpNormalization"),
    *(_reduce(op_type) for op_type in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceProd", "ReduceL2", "ReduceLogSumExp")),
    _arg("ArgMax"), _arg("ArgMin"), _matmul, _transpose, _tile, _slice, _pad, _expand, _concat, _split, _gather, _elements,
    _nd, _cumulative, _top_k, _one_hot, _non_zero, _trilu, _compress, _unique, _reverse_sequence, _layer_norm, _moments,
    _channels, _windows, _einsum, _quantize, _resize, _determinant, _views, _tensor_scatter,
)  # fmt: skip


def cases(ranks: Sequence[int] = range(MOST_AXES + 1)) -> Iterator[RankCase]:
    """Return the cases of these ranks."""
    for rank in ranks:
        for family in FAMILIES:
            yield from family(rank)

"""Small calls of the TensorFlow kernels that the engine uses, at any rank and dtype, with the results that NumPy computes."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

MOST_AXES = 9

DTYPES = (
    "float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "bool", "complex64", "complex128", "string",
)  # fmt: skip


@dataclass(frozen=True)
class Probe:
    """One kernel.

    Attributes:
        inputs: makes the arrays for a rank (float64; `sized` axes differ from their neighbours).
        call: calls the kernel for tensors of these arrays; it may use their static rank.
        expected: computes the result from the arrays with NumPy; None if only whether the kernel answers is of interest.
        ranks: the ranks that the kernel is defined for.
        rank: the rank at which dtypes are tried.
        typed: how many of the inputs have the dtype; the others are int32 (indices).
    """

    inputs: Callable[[int], Sequence[Array]]
    call: Callable[..., Any]
    expected: Callable[..., Any] | None
    ranks: Sequence[int] = range(1, MOST_AXES + 1)
    rank: int = 2
    typed: int = 9


def sized(rank: int) -> tuple[int, ...]:
    """Return sizes of `rank` axes, no two neighbours equal; the last one is long enough for oneDNN's kernels."""
    return tuple(33 if axis == rank - 1 else (2, 3)[axis % 2] for axis in range(rank))


def whole(rank: int, *, offset: int = 0) -> Array:
    """Return small positive whole numbers, which every numeric dtype holds exactly."""
    sizes = sized(rank)
    numbers: Array = ((np.arange(int(np.prod(sizes))) * 7 + offset) % 5 + 1).reshape(sizes).astype(np.float64)
    return numbers


def crossed(rank: int) -> list[Array]:
    """Return two arrays of which each is broadcast along every other axis."""
    full = whole(rank)
    first = full[tuple(slice(None) if axis % 2 else slice(0, 1) for axis in range(rank))]
    second = full[tuple(slice(0, 1) if axis % 2 else slice(None) for axis in range(rank))]
    return [first, second]


def _spread(rank: int) -> tuple[int, ...]:
    return tuple(range(0, rank, 2))


def _windows(count: int) -> list[Array]:
    return [whole(1, offset=1).sum() * np.ones((1, *(5,) * count, 4)), np.ones((*(3,) * count, 4, 4))]


def _one(rank: int) -> list[Array]:
    return [whole(rank)]


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(-1, keepdims=True))
    result: Array = powers / powers.sum(-1, keepdims=True)
    return result


def _coordinates(depth: int) -> Array:
    return np.stack([np.array([1, 0]) for _ in range(depth)], -1).astype(np.float64)


def _updated(x: Array, index: Array, updates: Array) -> Array:
    result = x.copy()
    result[tuple(index.astype(int).T)] = updates
    return result


def _steps(rank: int, step: int | None) -> tuple[slice, ...]:
    return tuple(slice(None, None, step) if axis % 2 == 0 else slice(None) for axis in range(rank))


def _perm(rank: int) -> list[int]:
    return [*range(1, rank, 2), *range(0, rank, 2)]


def _pads(rank: int) -> list[list[int]]:
    return [[1, 0] if axis % 2 == 0 else [0, 0] for axis in range(rank)]


def _tiles(rank: int) -> list[int]:
    return [2 if axis % 2 else 1 for axis in range(rank)]


def _equation(rank: int) -> str:
    letters = string.ascii_lowercase
    return f"{letters[:rank]},{letters[:rank:2]}->{letters[1:rank:2]}"


def probes() -> Mapping[str, Probe]:
    """Return the probes by the kernel's name in TensorFlow."""
    import tensorflow as tf

    tables = (_broadcasts(tf), _elementwise(tf), _products(tf), _moves(tf), _lookups(tf), _windows_of(tf), _others(tf))
    return {name: probe for table in tables for name, probe in table.items()}


def _broadcasts(tf: Any) -> dict[str, Probe]:
    """Return the probes of kernels over two operands, and of reductions."""
    raw = tf.raw_ops
    binaries: dict[str, Any] = {
        "AddV2": np.add, "Sub": np.subtract, "Mul": np.multiply, "RealDiv": np.divide, "FloorMod": np.fmod, "Pow": np.power,
        "Maximum": np.maximum, "Less": np.less, "Equal": np.equal, "SquaredDifference": lambda a, b: (a - b) ** 2,
    }  # fmt: skip
    table = {
        name: Probe(crossed, lambda a, b, name=name: getattr(raw, name)(x=a, y=b), compute)
        for name, compute in binaries.items()
    }
    reductions: dict[str, Any] = {"Sum": np.sum, "Mean": np.mean, "Max": np.max, "Min": np.min}
    table |= {
        name: Probe(
            _one,
            lambda x, name=name: getattr(raw, name)(input=x, axis=list(_spread(x.shape.rank)), keep_dims=False),
            lambda x, compute=compute: compute(x, axis=_spread(x.ndim)),
        )
        for name, compute in reductions.items()
    }
    return table


def _elementwise(tf: Any) -> dict[str, Probe]:
    """Return the probes of activations, choices and sums."""
    raw = tf.raw_ops
    return {
        "Softmax": Probe(_one, lambda x: raw.Softmax(logits=x), _softmax),
        "LogSoftmax": Probe(_one, lambda x: raw.LogSoftmax(logits=x), lambda x: np.log(_softmax(x))),
        "SelectV2": Probe(
            lambda rank: [*crossed(rank), whole(rank)[..., :1] > 2], lambda a, b, c: raw.SelectV2(condition=c, t=a, e=b),
            lambda a, b, c: np.where(c, a, b), typed=2,
        ),
        "AddN": Probe(lambda rank: [whole(rank)] * 2, lambda a, b: raw.AddN(inputs=[a, b]), np.add),
        "BiasAdd": Probe(
            lambda rank: [whole(rank), whole(1, offset=2)[:1].repeat(sized(rank)[-1])],
            lambda x, b: raw.BiasAdd(value=x, bias=b), np.add, ranks=range(2, MOST_AXES + 1),
        ),
    }  # fmt: skip


def _products(tf: Any) -> dict[str, Probe]:
    """Return the probes of products of matrices."""
    raw = tf.raw_ops
    return {
        "BatchMatMulV2": Probe(
            lambda rank: [np.concatenate([x, x], axis) for axis, x in zip((-1, -2), _matrices(rank), strict=True)],
            lambda a, b: raw.BatchMatMulV2(x=a, y=b), np.matmul, ranks=range(2, MOST_AXES + 1),
        ),
        "MatMul": Probe(
            lambda _: [whole(2), whole(2).T.copy()], lambda a, b: raw.MatMul(a=a, b=b), np.matmul, ranks=(2,)
        ),
        "Einsum": Probe(
            lambda rank: [whole(rank), np.ones(sized(rank)[::2])],
            lambda a, b: raw.Einsum(inputs=[a, b], equation=_equation(a.shape.rank)),
            lambda a, b: np.einsum(_equation(a.ndim), a, b),
        ),
    }  # fmt: skip


def _moves(tf: Any) -> dict[str, Probe]:
    """Return the probes of kernels that move, repeat or leave out elements."""
    raw = tf.raw_ops
    return {
        "Transpose": Probe(_one, lambda x: raw.Transpose(x=x, perm=_perm(x.shape.rank)), lambda x: x.transpose(_perm(x.ndim))),
        "Reshape": Probe(_one, lambda x: raw.Reshape(tensor=x, shape=[-1]), lambda x: x.reshape(-1)),
        "Squeeze": Probe(
            lambda rank: [whole(rank)[..., :1]], lambda x: raw.Squeeze(input=x, axis=[x.shape.rank - 1]),
            lambda x: x[..., 0],
        ),
        "BroadcastTo": Probe(
            lambda rank: [crossed(rank)[0]], lambda x: raw.BroadcastTo(input=x, shape=list(sized(x.shape.rank))),
            lambda x: np.broadcast_to(x, sized(x.ndim)),
        ),
        "Tile": Probe(
            _one, lambda x: raw.Tile(input=x, multiples=_tiles(x.shape.rank)), lambda x: np.tile(x, _tiles(x.ndim))
        ),
        "StridedSlice": Probe(
            lambda rank: [np.concatenate([whole(rank)] * 2, 0)], lambda x: x[_steps(x.shape.rank, -1)],
            lambda x: x[_steps(x.ndim, -1)],
        ),
        "Slice": Probe(
            _one, lambda x: raw.Slice(input=x, begin=[p[0] for p in _pads(x.shape.rank)], size=[-1] * x.shape.rank),
            lambda x: x[tuple(slice(p[0], None) for p in _pads(x.ndim))],
        ),
        "PadV2": Probe(
            _one, lambda x: raw.PadV2(input=x, paddings=_pads(x.shape.rank), constant_values=tf.zeros([], x.dtype)),
            lambda x: np.pad(x, _pads(x.ndim)),
        ),
        "MirrorPad": Probe(
            _one, lambda x: raw.MirrorPad(input=x, paddings=_pads(x.shape.rank), mode="REFLECT"),
            lambda x: np.pad(x, _pads(x.ndim), "reflect"),
        ),
        "ReverseV2": Probe(
            _one, lambda x: raw.ReverseV2(tensor=x, axis=list(_spread(x.shape.rank))), lambda x: np.flip(x, _spread(x.ndim))
        ),
        "ReverseSequence": Probe(
            lambda rank: [whole(rank), np.full(sized(rank)[1], 2.0)],
            lambda x, n: raw.ReverseSequence(input=x, seq_lengths=n, seq_dim=0, batch_dim=1), None,
            ranks=range(2, MOST_AXES + 1), typed=1,
        ),
        "ConcatV2": Probe(
            lambda rank: [whole(rank), whole(rank, offset=1)],
            lambda a, b: raw.ConcatV2(values=[a, b], axis=a.shape.rank // 2),
            lambda a, b: np.concatenate([a, b], a.ndim // 2),
        ),
        "Pack": Probe(
            lambda rank: [whole(rank), whole(rank, offset=1)], lambda a, b: raw.Pack(values=[a, b], axis=0),
            lambda a, b: np.stack([a, b]),
        ),
        "SplitV": Probe(
            lambda rank: [np.concatenate([whole(rank)] * 2, rank // 2)],
            lambda x: raw.SplitV(value=x, size_splits=[1, -1], axis=x.shape.rank // 2, num_split=2)[0],
            lambda x: np.take(x, [0], x.ndim // 2),
        ),
    }  # fmt: skip


def _lookups(tf: Any) -> dict[str, Probe]:
    """Return the probes of kernels that find elements, or take them by their place."""
    raw = tf.raw_ops
    return {
        "GatherV2": Probe(
            lambda rank: [whole(rank), np.array([1, 0.0])],
            lambda x, i: raw.GatherV2(params=x, indices=i, axis=x.shape.rank // 2),
            lambda x, i: np.take(x, i.astype(int), x.ndim // 2), typed=1,
        ),
        "GatherNd": Probe(
            lambda rank: [whole(rank), _coordinates(rank)], lambda x, i: raw.GatherNd(params=x, indices=i),
            lambda x, i: x[tuple(i.astype(int).T)], typed=1,
        ),
        "TensorScatterUpdate": Probe(
            lambda rank: [whole(rank), np.array([9, 8.0]), _coordinates(rank)],
            lambda x, u, i: raw.TensorScatterUpdate(tensor=x, indices=i, updates=u),
            lambda x, u, i: _updated(x, i, u), typed=2,
        ),
        "Cumsum": Probe(_one, lambda x: raw.Cumsum(x=x, axis=x.shape.rank // 2), lambda x: np.cumsum(x, x.ndim // 2)),
        "ArgMax": Probe(
            _one, lambda x: raw.ArgMax(input=x, dimension=x.shape.rank // 2), lambda x: np.argmax(x, x.ndim // 2)
        ),
        "TopKV2": Probe(
            _one, lambda x: raw.TopKV2(input=x, k=2).values, lambda x: -np.sort(-x, -1)[..., :2]
        ),
        "OneHot": Probe(
            lambda rank: [whole(rank - 1) - 1, np.array(1.0), np.array(0.0)],
            lambda i, on, off: raw.OneHot(indices=tf.cast(i, tf.int32), depth=5, on_value=on, off_value=off),
            lambda i, on, off: np.eye(5)[i.astype(int)],
        ),
        "Where": Probe(lambda rank: [whole(rank) - 1], lambda x: raw.Where(condition=x), np.argwhere),
        "UniqueWithCountsV2": Probe(_one, lambda x: raw.UniqueWithCountsV2(x=x, axis=[x.shape.rank // 2]).count, None),
        "MatrixBandPart": Probe(
            _one, lambda x: raw.MatrixBandPart(input=x, num_lower=-1, num_upper=0), np.tril, ranks=range(2, MOST_AXES + 1)
        ),
    }  # fmt: skip


def _windows_of(tf: Any) -> dict[str, Probe]:
    """Return the probes of convolutions and pools."""
    raw = tf.raw_ops
    return {
        "Conv2D": Probe(
            lambda _: _windows(2), lambda x, w: raw.Conv2D(input=x, filter=w, strides=[1] * 4, padding="SAME"), None,
            ranks=(4,), rank=4,
        ),
        "Conv3D": Probe(
            lambda _: _windows(3), lambda x, w: raw.Conv3D(input=x, filter=w, strides=[1] * 5, padding="SAME"), None,
            ranks=(5,), rank=5,
        ),
        "DepthwiseConv2dNative": Probe(
            lambda _: [_windows(2)[0], np.ones((3, 3, 4, 1))],
            lambda x, w: raw.DepthwiseConv2dNative(input=x, filter=w, strides=[1] * 4, padding="SAME"), None,
            ranks=(4,), rank=4,
        ),
        "Conv2DBackpropInput": Probe(
            lambda _: _windows(2),
            lambda x, w: raw.Conv2DBackpropInput(
                input_sizes=[1, 5, 5, 4], filter=w, out_backprop=x, strides=[1] * 4, padding="SAME"
            ),
            None, ranks=(4,), rank=4,
        ),
        "MaxPool": Probe(
            lambda _: _windows(2)[:1], lambda x: raw.MaxPool(input=x, ksize=[1, 2, 2, 1], strides=[1] * 4, padding="SAME"), None,
            ranks=(4,), rank=4,
        ),
        "AvgPool": Probe(
            lambda _: _windows(2)[:1], lambda x: raw.AvgPool(value=x, ksize=[1, 2, 2, 1], strides=[1] * 4, padding="SAME"), None,
            ranks=(4,), rank=4,
        ),
        "AvgPool3D": Probe(
            lambda _: _windows(3)[:1],
            lambda x: raw.AvgPool3D(input=x, ksize=[1, 2, 2, 2, 1], strides=[1] * 5, padding="SAME"), None,
            ranks=(5,), rank=5,
        ),
        "MaxPool3D": Probe(
            lambda _: _windows(3)[:1],
            lambda x: raw.MaxPool3D(input=x, ksize=[1, 2, 2, 2, 1], strides=[1] * 5, padding="SAME"), None,
            ranks=(5,), rank=5,
        ),
    }  # fmt: skip


def _others(tf: Any) -> dict[str, Probe]:
    """Return the probes of other kernels."""
    raw = tf.raw_ops
    return {
        "Relu": Probe(_one, lambda x: raw.Relu(features=x), lambda x: np.maximum(x, 0)),
        "Exp": Probe(_one, lambda x: raw.Exp(x=x), np.exp),
        "MatrixDeterminant": Probe(
            lambda rank: [np.broadcast_to(np.diag([1.0, 2]), (*sized(rank - 2), 2, 2))], lambda x: raw.MatrixDeterminant(input=x),
            lambda x: np.full(x.shape[:-2], 2.0), ranks=range(2, MOST_AXES + 1),
        ),
    }  # fmt: skip


def _matrices(rank: int) -> list[Array]:
    """Return two stacks of matrices [..., 2, 2] whose leading axes are broadcast alternately."""
    return [np.ones((*x.shape, 2, 2)) * x[..., None, None] for x in crossed(rank - 2)]

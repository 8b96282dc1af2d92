"""Cases of operators whose form or meaning has changed, by their pages: https://onnx.ai/onnx/operators/"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

X = np.random.default_rng(7).uniform(0.5, 2.0, (2, 4, 3, 5)).astype(np.float32)


@dataclass(frozen=True)
class OlderCase:
    """A node with its inputs and the outputs that the page requires.

    Attributes:
        node: the node.
        arrays: input name -> array.
        results: output name -> array.
        constants: the inputs that are initializers; the others are the model's inputs.
    """

    node: onnx.NodeProto
    arrays: Mapping[str, Any]
    results: Mapping[str, Any]
    constants: Mapping[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> list[Any]:
        """The arrays of the model's inputs, in order."""
        return list(self.arrays.values())

    @property
    def outputs(self) -> list[Any]:
        """The arrays of the model's outputs, in order."""
        return list(self.results.values())

    def model(self, opset: int) -> onnx.ModelProto:
        """Return the model of one node."""
        infos = [[_info(*item) for item in arrays.items()] for arrays in (self.arrays, self.results)]
        weights = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        graph = helper.make_graph([self.node], "older", *infos, weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _info(name: str, array: Any) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def unary(op_type: str, x: Any, y: Any, **attributes: Any) -> OlderCase:
    """Return a case of one input and one output."""
    return OlderCase(helper.make_node(op_type, ["x"], ["y"], **attributes), {"x": x}, {"y": y})


_BINARY: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power, "Greater": np.greater,
    "Less": np.less, "Equal": np.equal, "And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor,
}  # fmt: skip


def binary(op_type: str) -> Callable[[int], Iterator[OlderCase]]:
    """Return the cases of a binary operator before opset 7; see the table in its description."""
    shapes = (((4, 3), 1), ((4,), 1), ((5,), None), ((2,), 0), ((3,), -2), ((), None), ((1, 1), 1))

    def cases(version: int) -> Iterator[OlderCase]:
        for shape, axis in shapes:
            first, second = _operands(op_type, shape)
            start = (4 - len(shape) if axis is None else axis) % 4
            aligned = second.reshape(shape + (1,) * (4 - start - len(shape))) if second.size > 1 else second.reshape(())
            attributes = {"broadcast": 1, **({} if axis is None else {"axis": axis})}
            yield _binary(op_type, first, second, _BINARY[op_type](first, aligned), **attributes)
        first, second = _operands(op_type, X.shape)
        yield _binary(op_type, first, second, _BINARY[op_type](first, second))
        square = X[0, :3, :, :3]
        for axis in (0, 1, 2):
            first, second = _typed(op_type, square), _typed(op_type, square[0, 0])
            aligned = second.reshape((3,) + (1,) * (2 - axis))
            yield _binary(op_type, first, second, _BINARY[op_type](first, aligned), broadcast=1, axis=axis)

    return cases


def _binary(op_type: str, first: Any, second: Any, result: Any, **attributes: Any) -> OlderCase:
    node = helper.make_node(op_type, ["a", "b"], ["y"], **attributes)
    return OlderCase(node, {"a": first, "b": second}, {"y": np.asarray(result)})


def _operands(op_type: str, shape: tuple[int, ...]) -> tuple[Any, Any]:
    second = np.random.default_rng(8).uniform(0.5, 2.0, shape).astype(np.float32)
    return _typed(op_type, X), _typed(op_type, second)


def _typed(op_type: str, array: Any) -> Any:
    if op_type in ("And", "Or", "Xor"):
        return array > 1
    return array.astype(np.int32) if op_type == "Equal" else array


def prelu(version: int) -> Iterator[OlderCase]:
    """One slope for all channels, or one per channel."""
    x = X - 1
    for slope in (np.float32([0.1]), np.float32([0.1, 0.2, 0.3, 0.4])):
        result = np.where(x < 0, x * slope.reshape(-1, 1, 1), x)
        yield OlderCase(helper.make_node("PRelu", ["x", "slope"], ["y"]), {"x": x, "slope": slope}, {"y": result})


def gemm(version: int) -> Iterator[OlderCase]:
    """With `broadcast` or a third operand of the right shape."""
    a, b = X[0, 0], X[1, 0].T
    for c, broadcast in ((X[0, 1, :, :3], 0), (X[0, 1, 0, :3], 1), (X[0, 1, :, :1], 1), (X[0, 1, 0, :1], 1)):
        node = helper.make_node("Gemm", ["a", "b", "c"], ["y"], broadcast=broadcast, alpha=0.5, beta=2.0)
        yield OlderCase(node, {"a": a, "b": b, "c": c}, {"y": (0.5 * (a @ b) + 2 * c).astype(np.float32)})


def selu(version: int) -> Iterator[OlderCase]:
    """Constants of four decimals."""
    x = X - 1
    yield unary("Selu", x, (1.0507 * np.where(x > 0, x, 1.6732 * np.expm1(x))).astype(np.float32))


def concat(version: int) -> Iterator[OlderCase]:
    """The default axis is 1."""
    for axis in (None, 2):
        attributes = {} if axis is None else {"axis": axis}
        node = helper.make_node("Concat", ["a", "b"], ["y"], **attributes)
        yield OlderCase(node, {"a": X, "b": X}, {"y": np.concatenate([X, X], 1 if axis is None else axis)})


def cast(version: int) -> Iterator[OlderCase]:
    """The data type is a name."""
    for name, dtype in (("INT32", np.int32), ("DOUBLE", np.float64), ("BOOL", np.bool_)):
        yield unary("Cast", X, X.astype(dtype), to=name)


def lp_pool(version: int) -> Iterator[OlderCase]:
    """p is a float."""
    for p in (1.0, 2.0, 3.0):
        windows = np.lib.stride_tricks.sliding_window_view(X.astype(np.float64), (2, 2), axis=(2, 3))
        result = ((windows**p).sum((-1, -2)) ** (1 / p)).astype(np.float32)
        yield unary("LpPool", X, result, kernel_shape=[2, 2], p=p)


def global_lp_pool(version: int) -> Iterator[OlderCase]:
    """p is a float in version 1."""
    for p in (1.0, 2.0):
        result = (X.astype(np.float64) ** p).sum((2, 3), keepdims=True) ** (1 / p)
        yield unary("GlobalLpPool", X, result.astype(np.float32), p=p if version == 1 else int(p))


def tile(version: int) -> Iterator[OlderCase]:
    """A number of tiles along one axis."""
    for axis in (0, 2):
        node = helper.make_node("Tile", ["x", "tiles", "axis"], ["y"])
        arrays = {"x": X, "tiles": np.array([3], np.float32), "axis": np.array([axis], np.float32)}
        repeats = [3 if index == axis else 1 for index in range(4)]
        yield OlderCase(node, arrays, {"y": np.tile(X, repeats)})


def _matrix(x: Any, axis: int) -> Any:
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _softmax(matrix: Any) -> Any:
    shifted = np.exp(matrix - matrix.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def _hardmax(matrix: Any) -> Any:
    result = np.zeros_like(matrix)
    result[np.arange(len(matrix)), matrix.argmax(1)] = 1
    return result


def rows(op_type: str, function: Callable[[Any], Any]) -> Callable[[int], Iterator[OlderCase]]:
    """Return the cases of Softmax and its kin before opset 13: the input is seen as a matrix, the default axis is 1."""

    def cases(version: int) -> Iterator[OlderCase]:
        for axis in (None, 0, 1, 2, 3, *((-1, -2) if version >= 11 else ())):
            matrix = _matrix(X.astype(np.float64), 1 if axis is None else axis % 4)
            attributes = {} if axis is None else {"axis": axis}
            yield unary(op_type, X, function(matrix).reshape(X.shape).astype(np.float32), **attributes)

    return cases


def batch_normalization(version: int) -> Iterator[OlderCase]:
    """Per channel, or with `spatial=0` per feature."""
    first = {"consumed_inputs": [0, 0, 0, 1, 1]} if version < 6 else {}
    test = {"is_test": 1} if version < 7 else {}
    names = ["x", "scale", "bias", "mean", "var"]
    for shape, spatial in (((4, 1, 1), 1), ((4, 3, 5), 0)):
        scale, bias, mean, variance = (
            np.random.default_rng(n).uniform(0.5, 2, shape).astype(np.float32) for n in range(4)
        )
        result = (X - mean) / np.sqrt(variance + 1e-3) * scale + bias
        weights = (a.reshape(4 if spatial else shape) for a in (scale, bias, mean, variance))
        stored = dict(zip(names[1:], weights, strict=True))
        node = helper.make_node("BatchNormalization", names, ["y"], epsilon=1e-3, spatial=spatial, **first, **test)
        yield OlderCase(node, {"x": X}, {"y": result.astype(np.float32)}, stored)


def group_normalization(version: int) -> Iterator[OlderCase]:
    """Scale and bias per group."""
    scale, bias = np.float32([0.5, 2.0]), np.float32([1.0, -1.0])
    groups = X.astype(np.float64).reshape(2, 2, -1)
    normal = (groups - groups.mean(-1, keepdims=True)) / np.sqrt(groups.var(-1, keepdims=True) + 1e-5)
    result = normal * scale.reshape(1, 2, 1) + bias.reshape(1, 2, 1)
    node = helper.make_node("GroupNormalization", ["x", "scale", "bias"], ["y"], num_groups=2)
    yield OlderCase(node, {"x": X, "scale": scale, "bias": bias}, {"y": result.reshape(X.shape).astype(np.float32)})


def dropout(version: int) -> Iterator[OlderCase]:
    """Test mode: the data as they are, and a mask that is not filled."""
    attributes = {"is_test": 1} if version < 7 else {}
    yield unary("Dropout", X, X, **attributes)
    if version >= 7:
        mask = np.zeros(X.shape, np.bool_ if version >= 10 else np.float32)
        yield OlderCase(helper.make_node("Dropout", ["x"], ["y", "mask"]), {"x": X}, {"y": X, "mask": mask})


def resize(op_type: str) -> Callable[[int], Iterator[OlderCase]]:
    """Return the cases of Resize-10 and Upsample: coordinates are divided by the scale."""

    def cases(version: int) -> Iterator[OlderCase]:
        for mode in ("nearest", "linear"):
            for scales in ((1.0, 1.0, 2.0, 2.0), (1.0, 1.0, 1.5, 2.5), (1.0, 1.0, 2.0, 1.0), *_shrinking(op_type)):
                yield _resize(op_type, version, mode, scales)

    return cases


def _shrinking(op_type: str) -> list[tuple[float, ...]]:
    return [(1.0, 1.0, 0.6, 0.5), (1.0, 1.0, 2.0, 0.5)] if op_type == "Resize" else []


def _resize(op_type: str, version: int, mode: str, scales: tuple[float, ...]) -> OlderCase:
    result = X
    for axis, scale in enumerate(scales):
        result = _resize_axis(result, axis, scale, mode)
    y = {"y": result.astype(np.float32)}
    if version >= 9:
        node = helper.make_node(op_type, ["x", "scales"], ["y"], mode=mode)
        return OlderCase(node, {"x": X}, y, {"scales": np.float32(scales)})
    name = {"nearest": "nearest", "linear": "bilinear" if version == 1 else "linear"}[mode]
    attributes: dict[str, Any] = (
        {"scales": scales} if version >= 7 else {"height_scale": scales[2], "width_scale": scales[3]}
    )
    return OlderCase(helper.make_node(op_type, ["x"], ["y"], mode=name, **attributes), {"x": X}, y)


def _resize_axis(x: Any, axis: int, scale: float, mode: str) -> Any:
    if scale == 1:
        return x
    size = x.shape[axis]
    places = np.arange(math.floor(size * scale)) / scale
    if mode == "nearest":
        index = (np.ceil(places) if scale < 1 else np.floor(places)).astype(int)
        return x.take(index.clip(0, size - 1), axis)
    low = np.floor(places).astype(int).clip(0, size - 1)
    high = (low + 1).clip(0, size - 1)
    share = (places - low).reshape([-1 if n == axis else 1 for n in range(x.ndim)])
    return x.take(low, axis) * (1 - share) + x.take(high, axis) * share


def roi_align(version: int) -> Iterator[OlderCase]:
    """Coordinates without the shift by half a pixel: a region of whole pixels has the mean of four samples per bin."""
    x = np.arange(36, dtype=np.float32).reshape(1, 1, 6, 6)
    rois, batch = np.float32([[0.0, 0.0, 4.0, 4.0]]), np.array([0], np.int64)
    places = 0.5 + np.arange(4)  # the sample points of two bins of two samples each, one pixel apart
    grid = places[:, None] * 6 + places[None, :]
    result = grid.reshape(2, 2, 2, 2).mean((1, 3)).astype(np.float32).reshape(1, 1, 2, 2)
    node = helper.make_node(
        "RoiAlign", ["x", "rois", "batch"], ["y"], output_height=2, output_width=2, sampling_ratio=2
    )
    yield OlderCase(node, {"x": x, "rois": rois, "batch": batch}, {"y": result})


def grid_sample(version: int) -> Iterator[OlderCase]:
    """The modes are called bilinear and bicubic; a grid of the pixels' own centres returns them."""
    steps = [(2 * np.arange(n) + 1) / n - 1 for n in (3, 5)]
    grid = np.stack(np.meshgrid(*steps, indexing="ij")[::-1], -1).astype(np.float32)
    for mode in ("bilinear", "nearest", "bicubic", None):
        attributes = {} if mode is None else {"mode": mode}
        node = helper.make_node("GridSample", ["x", "grid"], ["y"], **attributes)
        yield OlderCase(node, {"x": X, "grid": np.stack([grid, grid])}, {"y": X})


def depth_to_space(version: int) -> Iterator[OlderCase]:
    """Blocks of the depth, before the mode CRD was added."""
    blocks = X.reshape(2, 2, 2, 1, 3, 5).transpose(0, 3, 4, 1, 5, 2)
    yield unary("DepthToSpace", X, blocks.reshape(2, 1, 6, 10), blocksize=2)


def mean_variance_normalization(version: int) -> Iterator[OlderCase]:
    """Over batch and space, or over given axes."""
    for axes in (None, [1, 2]):
        over = (0, 2, 3) if axes is None else tuple(axes)
        deviation = X.astype(np.float64) - X.mean(over, keepdims=True, dtype=np.float64)
        result = (deviation / np.sqrt((deviation**2).mean(over, keepdims=True))).astype(np.float32)
        yield unary("MeanVarianceNormalization", X, result, **({} if axes is None else {"axes": axes}))


def scatter(version: int) -> Iterator[OlderCase]:
    """ScatterElements by its former name."""
    indices = np.array([[[[2, 0, 1, 2, 0]]]], np.int64)
    updates = np.float32([[[[9, 8, 7, 6, 5]]]])
    result = X.copy()
    np.put_along_axis(result[:1, :1], indices, updates, 2)
    node = helper.make_node("Scatter", ["x", "indices", "updates"], ["y"], axis=2)
    yield OlderCase(node, {"x": X, "indices": indices, "updates": updates}, {"y": result})


def max_roi_pool(version: int) -> Iterator[OlderCase]:
    """The maxima of four quarters of a region; a bin outside of the image is 0."""
    x = np.arange(72, dtype=np.float32).reshape(2, 1, 6, 6)
    rois = np.float32([[0, 0, 0, 3, 3], [1, 2, 1, 5, 4], [0, 5, 5, 8, 8]])
    result = np.float32([[7, 9, 19, 21], [51, 53, 63, 65], [35, 0, 0, 0]]).reshape(3, 1, 2, 2)
    node = helper.make_node("MaxRoiPool", ["x", "rois"], ["y"], pooled_shape=[2, 2], spatial_scale=1.0)
    yield OlderCase(node, {"x": x, "rois": rois}, {"y": result})


def loop(version: int) -> Iterator[OlderCase]:
    """Three rounds, each of which adds a vector and keeps the sum."""
    infos = [
        ("round", onnx.TensorProto.INT64, []),
        ("go", onnx.TensorProto.BOOL, []),
        ("sum", onnx.TensorProto.FLOAT, [5]),
    ]
    nodes = [
        helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["sum", "x"], ["more"]),
        helper.make_node("Identity", ["more"], ["kept"]),
    ]  # fmt: skip
    results = [
        ("on", onnx.TensorProto.BOOL, []),
        ("more", onnx.TensorProto.FLOAT, [5]),
        ("kept", onnx.TensorProto.FLOAT, [5]),
    ]
    body = helper.make_graph(
        nodes, "body", *([helper.make_tensor_value_info(*i) for i in group] for group in (infos, results))
    )
    node = helper.make_node("Loop", ["rounds", "", "start"], ["last", "sums"], body=body)
    x, start = X[0, 0, 0], np.zeros(5, np.float32)
    sums = np.stack([x, x + x, x + x + x])
    arrays = {"rounds": np.array(3, np.int64), "start": start, "x": x}
    yield OlderCase(node, arrays, {"last": sums[-1], "sums": sums})


def resize_11(version: int) -> Iterator[OlderCase]:
    """Scales with an empty region of interest, in the mode that older opsets had alone."""
    names = ["x", "roi", "scales"]
    result = X.repeat(2, 2).repeat(2, 3)
    node = helper.make_node("Resize", names, ["y"], coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    yield OlderCase(node, {"x": X}, {"y": result}, {"roi": np.zeros(0, np.float32), "scales": np.float32([1, 1, 2, 2])})


def scan(version: int) -> Iterator[OlderCase]:
    """Scans axis 1 of batches."""
    add = helper.make_node("Add", ["a", "i"], ["c"])
    copy = helper.make_node("Identity", ["c"], ["d"])
    names = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [5]) for n in "aicd"]
    body = helper.make_graph([add, copy], "body", names[:2], names[2:])
    node = helper.make_node("Scan", ["", "start", "x"], ["last", "sums"], body=body, num_scan_inputs=1)
    sums = X[:, :, 0].cumsum(1, dtype=np.float32)
    yield OlderCase(node, {"start": np.zeros((2, 5), np.float32), "x": X[:, :, 0]}, {"last": sums[:, -1], "sums": sums})


OLDER: Mapping[str, Callable[[int], Iterator[OlderCase]]] = {
    **{op_type: binary(op_type) for op_type in _BINARY},
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "Concat": concat,
    "DepthToSpace": depth_to_space,
    "Dropout": dropout,
    "Gemm": gemm,
    "GlobalLpPool": global_lp_pool,
    "GridSample": grid_sample,
    "GroupNormalization": group_normalization,
    "Hardmax": rows("Hardmax", _hardmax),
    "Loop": loop,
    "LogSoftmax": rows("LogSoftmax", lambda matrix: np.log(_softmax(matrix))),
    "LpPool": lp_pool,
    "MaxRoiPool": max_roi_pool,
    "MeanVarianceNormalization": mean_variance_normalization,
    "PRelu": prelu,
    "Resize": lambda version: resize_11(version) if version >= 11 else resize("Resize")(version),
    "RoiAlign": roi_align,
    "Scan": scan,
    "Scatter": scatter,
    "Selu": selu,
    "Softmax": rows("Softmax", _softmax),
    "Tile": tile,
    "Upsample": resize("Upsample"),
}
"""Operator -> its cases at a version."""

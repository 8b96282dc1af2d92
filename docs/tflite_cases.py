"""Writes small .tflite files, each of one kernel and one dtype, which `docs.tflite_runtimes` runs in every runtime."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from docs.kernel_probes import Array, Probe, probes, whole
from serving.imports import leave_keras_out

DTYPES = ("float32", "float16", "int8", "int16", "int32", "int64", "uint8", "uint32", "bool")
QUANTIZED = ("dynamic", "int8", "int16x8", "int4")
_SKIPPED = {"MatrixDeterminant", "UniqueWithCountsV2"}
"""Probes of kernels that TFLite has no operator for."""


def cases() -> dict[str, Probe]:
    """Return the probes by name: those of `docs.kernel_probes`, and those of further TFLite operators."""
    import tensorflow as tf

    table = {name: probe for name, probe in probes().items() if name not in _SKIPPED}
    return {**table, **_unary(tf), **_binary(tf), **_others(tf), **_casts(tf), **_layers(tf)}


def _one(rank: int) -> list[Array]:
    return [whole(rank)]


def _image(_: int) -> list[Array]:
    return [(np.arange(128).reshape(1, 4, 4, 8) % 5 + 1).astype(np.float64)]


def _unary(tf: Any) -> dict[str, Probe]:
    math, nn = tf.math, tf.nn
    functions: dict[str, Callable[[Any], Any]] = {
        "Abs": math.abs, "Neg": math.negative, "Sqrt": math.sqrt, "Rsqrt": math.rsqrt, "Square": math.square, "Sin": math.sin,
        "Cos": math.cos, "Log": math.log, "Tanh": math.tanh, "Sigmoid": math.sigmoid, "Elu": nn.elu, "Relu6": nn.relu6,
        "LeakyRelu": nn.leaky_relu, "Gelu": lambda x: nn.gelu(x, approximate=False),
        "GeluTanh": lambda x: nn.gelu(x, approximate=True), "HardSwish": lambda x: x * nn.relu6(x + 3.0) * (1 / 6),
        "Ceil": math.ceil, "Floor": math.floor, "Round": math.round, "Sign": math.sign, "LogicalNot": math.logical_not,
        "ZerosLike": tf.zeros_like, "ExpandDims": lambda x: tf.expand_dims(x, 0), "Shape": lambda x: tf.shape(x) + 0,
        "Prod": lambda x: math.reduce_prod(x, 0), "Any": lambda x: math.reduce_any(x, 0),
        "All": lambda x: math.reduce_all(x, 0), "ArgMin": lambda x: math.argmin(x, 1),
        "L2Normalize": lambda x: math.l2_normalize(x, 1), "Unpack": lambda x: tf.unstack(x, axis=0)[0] + x[1],
        "Split": lambda x: tf.split(x, 3, axis=1)[1],
    }  # fmt: skip
    return {name: Probe(_one, call, None) for name, call in functions.items()}


def _binary(tf: Any) -> dict[str, Probe]:
    math = tf.math
    functions: dict[str, Callable[[Any, Any], Any]] = {
        "Minimum": math.minimum, "FloorDiv": math.floordiv, "Greater": math.greater, "GreaterEqual": math.greater_equal,
        "LessEqual": math.less_equal, "NotEqual": math.not_equal, "LogicalAnd": math.logical_and, "LogicalOr": math.logical_or,
        "Atan2": math.atan2, "BitwiseXor": tf.bitwise.bitwise_xor, "Div": lambda a, b: a / b,
    }  # fmt: skip
    return {name: Probe(lambda r: [whole(r), whole(r, offset=1)], call, None) for name, call in functions.items()}


def _others(tf: Any) -> dict[str, Probe]:
    image = tf.image
    return {
        "ResizeBilinear": Probe(_image, lambda x: tf.raw_ops.ResizeBilinear(images=x, size=[8, 8]), None),
        "ResizeBilinearHalf": Probe(
            _image, lambda x: tf.raw_ops.ResizeBilinear(images=x, size=[8, 8], half_pixel_centers=True), None
        ),
        "ResizeNearest": Probe(_image, lambda x: image.resize(x, [8, 8], method="nearest"), None),
        "SpaceToDepth": Probe(_image, lambda x: tf.nn.space_to_depth(x, 2), None),
        "DepthToSpace": Probe(_image, lambda x: tf.nn.depth_to_space(x, 2), None),
        "SpaceToBatch": Probe(_image, lambda x: tf.space_to_batch(x, [2, 2], [[0, 0], [0, 0]]), None),
        "BatchToSpace": Probe(
            lambda _: [_image(4)[0].reshape(4, 2, 2, 8)], lambda x: tf.batch_to_space(x, [2, 2], [[0, 0], [0, 0]]), None
        ),
        "PRelu": Probe(_image, lambda x: tf.nn.relu(x) + tf.constant([-0.5] * 8) * tf.nn.relu(-x), None),
        "GatherConstant": Probe(
            lambda _: [np.array([1.0, 0])], lambda i: tf.gather(tf.constant(whole(2), tf.float32), tf.cast(i, tf.int32)), None
        ),
        "GatherBatch": Probe(
            lambda _: [whole(2), np.array([[1.0], [0]])], lambda x, i: tf.gather(x, i, batch_dims=1), None, typed=1
        ),
        "ScatterNd": Probe(
            lambda _: [np.array([[1.0], [0]]), whole(2)], lambda i, u: tf.scatter_nd(tf.cast(i, tf.int32), u, [4, 33]), None
        ),
        "Fill": Probe(lambda _: [np.array(2.0)], lambda v: tf.fill([2, 3], v), None),
        "Range": Probe(lambda _: [np.array(0.0), np.array(5.0), np.array(2.0)], lambda a, b, c: tf.range(a, b, c) + a, None),
        "WhereIndex": Probe(_one, lambda x: tf.where(x), None),
        "Gather6": Probe(lambda _: [whole(6), np.array([1.0, 0])], lambda x, i: tf.gather(x, i, axis=5), None, typed=1),
        "Transpose6": Probe(lambda _: _one(6), lambda x: tf.transpose(x, [5, 4, 3, 2, 1, 0]), None),
        "StridedSlice5": Probe(lambda _: _one(5), lambda x: x[..., ::2], None),
    }  # fmt: skip


def _casts(tf: Any) -> dict[str, Probe]:
    return {f"Cast_{dtype}": Probe(_one, lambda x, d=dtype: tf.cast(x, d), None) for dtype in DTYPES}


def _layers(tf: Any) -> dict[str, Probe]:
    """Return layers with constant weights, which the quantizers quantize per channel."""
    rng = np.random.default_rng(0)
    dense, conv = rng.normal(size=(32, 64)).astype("float32"), rng.normal(size=(3, 3, 32, 64)).astype("float32")
    deep, images = rng.normal(size=(3, 3, 32, 2)).astype("float32"), rng.normal(size=(1, 6, 6, 32))
    up = rng.normal(size=(2, 2, 64, 32)).astype("float32")
    rows, attention = rng.normal(size=(4, 32)), rng.normal(size=(2, 3, 8, 16))
    ids = np.array([[1.0, 0, 1]])
    nn, bias = tf.nn, tf.constant(rng.normal(size=(64,)), tf.float32)
    return {
        "Dense": Probe(lambda _: [rows], lambda x: tf.matmul(x, dense) + bias, None, rank=2),
        "DenseNoBias": Probe(lambda _: [rows], lambda x: tf.matmul(x, dense), None, rank=2),
        "Dense3": Probe(lambda _: [rows[None]], lambda x: tf.einsum("bij,jk->bik", x, dense) + bias, None),
        "ConvLayer": Probe(lambda _: [images], lambda x: nn.conv2d(x, conv, 1, "SAME") + bias, None),
        "ConvDilated": Probe(lambda _: [images], lambda x: nn.conv2d(x, conv, 1, "SAME", dilations=2) + bias, None),
        "ConvGrouped": Probe(lambda _: [images], lambda x: nn.conv2d(x, conv[:, :, :16], 1, "SAME") + bias, None),
        "DepthwiseLayer": Probe(lambda _: [images], lambda x: nn.depthwise_conv2d(x, deep, [1] * 4, "SAME") + bias, None),
        "TransposedLayer": Probe(
            lambda _: [images], lambda x: nn.conv2d_transpose(x, up, [1, 12, 12, 64], 2, "SAME") + bias, None
        ),
        "Attention": Probe(
            lambda _: [attention, attention], lambda a, b: tf.nn.softmax(tf.matmul(a, b, transpose_b=True)), None
        ),
        "DenseBlocks": Probe(lambda _: [rows], lambda x: tf.matmul(tf.matmul(x, dense), dense.T), None, rank=2),
        "Embedding": Probe(lambda _: [ids], lambda i: tf.gather(tf.constant(dense), i), None, typed=0),
        "EmbeddingRows": Probe(lambda _: [ids], lambda i: tf.gather(tf.constant(dense[:, :40]), i), None, typed=0),
        "BatchMatMulConstant": Probe(lambda _: [attention], lambda a: tf.matmul(a, dense[:16].reshape(2, 1, 16, 32)[:1]), None),
    }  # fmt: skip


def write(folder: Path, done: set[str]) -> None:
    """Write the files whose name is not in `done`; each name is printed before, because the quantizer can crash."""
    for name, probe in cases().items():
        for dtype in DTYPES:
            _write_case(folder, f"{name}.{dtype}", probe, dtype, "float32", done)
        for variant in QUANTIZED:
            _write_case(folder, f"{name}.{variant}", probe, "float32", variant, done)


def _write_case(folder: Path, name: str, probe: Probe, dtype: str, variant: str, done: set[str]) -> None:
    if name in done:
        return
    print(name, flush=True)
    arrays = list(probe.inputs(probe.rank))
    values = [_typed(array, dtype if position < probe.typed else "int32") for position, array in enumerate(arrays)]
    file = _converted(probe, values, variant)
    if file is not None:
        (folder / f"{name}.tflite").write_bytes(file)


def _typed(array: Array, dtype: str) -> Any:
    import tensorflow as tf

    return tf.constant(array) if array.dtype == np.bool_ else tf.cast(tf.constant(array), tf.as_dtype(dtype))


def _converted(probe: Probe, values: list[Any], variant: str) -> bytes | None:
    """Return the file's content; None if TensorFlow or TFLite has no such kernel."""
    import tensorflow as tf

    from bundler.errors import TfliteError
    from bundler.tflite import quantize
    from bundler.tflite.variants import convert, write_static

    names = [f"x{i}" for i in range(len(values))]
    specs = [tf.TensorSpec(x.shape, x.dtype, name=name) for x, name in zip(values, names, strict=True)]

    def samples() -> Iterator[Mapping[str, Any]]:
        for factor in (1.0, 0.5, 0.25):
            yield {
                n: (x.numpy() * np.asarray(factor, x.dtype.as_numpy_dtype) if x.dtype == tf.float32 else x.numpy())
                for n, x in zip(names, values, strict=True)
            }

    try:
        function = tf.function(lambda *x: {"y": probe.call(*x)}, autograph=False).get_concrete_function(*specs)
        with tempfile.TemporaryDirectory() as work:
            write_static(function, names, Path(work) / "m")
            if variant == "int8":
                return quantize.quantize(quantize.calibrate(Path(work) / "m", ["serving_default"], samples))
            if variant == "int4":
                return _in_int4(convert(Path(work) / "m", "float32"))
            return convert(Path(work) / "m", variant, samples)  # type: ignore[arg-type]
    except (tf.errors.OpError, TfliteError, TypeError, ValueError):
        return None


def _in_int4(file: bytes) -> bytes | None:
    """Return a float file with matrices in int4, or in int8 if they have no blocks; None if it has no matrices."""
    from bundler.tflite.blocks import to_int4, to_int8
    from bundler.tflite.matrices import matrices, with_matrices

    forms = {matrix: (to_int4 if matrix.has_blocks else to_int8)(matrix.values) for matrix in matrices(file)}
    return with_matrices(file, forms) if forms else None


if __name__ == "__main__":
    leave_keras_out()
    write(Path(sys.argv[1]), set(sys.stdin.read().split()))

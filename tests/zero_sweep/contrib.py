"""Models of com.microsoft and ai.onnx.ml, which ONNX's node tests do not have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper

from tests.bundler.converters.native.oracle import array
from tests.zero_sweep.cases import SweepCase
from tests.zero_sweep.declared import Input, declared

MS, ML = "com.microsoft", "ai.onnx.ml"
TOKENS = "batch length 8"
IMAGE = "batch 8 height width"


def contrib_cases() -> Iterator[SweepCase]:
    """Return the cases."""
    yield from _activations()
    yield from _normalizations()
    yield from _products()
    yield from _attention()
    yield from _quantized()
    yield from _quantized_products()
    yield from _features()
    yield from _estimators()


def _case(
    op_type: str, inputs: Mapping[str, Input], constants: Mapping[str, Any] | None = None, *, order: str = "", outputs: int = 1,
    domain: str = MS, version: int = 1, answer: Callable[..., Sequence[Any]] | None = None, dtype: int = 0, **attributes: Any,
) -> SweepCase:  # fmt: skip
    """Make a case of one node; `order` lists its inputs, `_` for none."""
    names = ["" if n == "_" else n for n in order.split()] or [*inputs, *(constants or {})]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, names, results, domain=domain, **attributes)
    return declared(
        f"{domain}_{op_type}", f"{domain}::{op_type}", [node], inputs, results, constants, domains={domain: version},
        answer=answer, dtype=dtype or (TensorProto.FLOAT if answer else 0),
    )  # fmt: skip


def _activations() -> Iterator[SweepCase]:
    x, bias = {"x": Input(TOKENS)}, {"b": array(8, seed=1)}
    for op_type in ("Gelu", "QuickGelu", "FastGelu"):
        yield _case(op_type, x)
    yield _case("BiasGelu", x, bias)
    yield _case("BiasSplitGelu", x, bias, answer=lambda x: [_split_gelu(x + bias["b"])])
    skip = {**x, "skip": Input(TOKENS)}
    yield _case("BiasAdd", skip, bias, order="x b skip", answer=lambda x, skip: [x + bias["b"] + skip])
    yield _case("Trilu", {"x": Input("batch rows columns")}, {"k": np.array(1)}, upper=0)
    yield _case("GatherND", {"x": Input(TOKENS), "at": Input("items 1", np.int64)})
    pads = {"pads": np.array([0, 1, 0, 0, 0, 2]), "value": np.array(3, np.float32)}
    yield _case("Pad", x, pads)
    yield _case("CDist", {"a": Input("rows 4"), "b": Input("columns 4")}, metric="sqeuclidean")
    yield _case("Inverse", {"x": Input("batch 4 4")})


def _split_gelu(x: Any) -> Any:
    first, second = torch.from_numpy(x).chunk(2, -1)
    return (first * torch.nn.functional.gelu(second)).numpy()


def _normalizations() -> Iterator[SweepCase]:
    x, skip = {"x": Input(TOKENS)}, {"skip": Input(TOKENS)}
    scale, shift, bias = ({k: array(8, seed=s)} for s, k in enumerate(("gamma", "beta", "bias"), 1))
    yield _case("SkipLayerNormalization", {**x, **skip}, {**scale, **shift, **bias})
    yield _case("SkipSimplifiedLayerNormalization", {**x, **skip}, scale)
    tables = {"words": array(20, 8), "places": array(16, 8, seed=1), **scale, **shift}
    ids = {"ids": Input("batch length", np.int32, high=20), "mask": Input("batch length", np.int32)}
    yield _case(
        "EmbedLayerNormalization",
        ids,
        tables,
        order="ids _ words places _ gamma beta mask",
        outputs=2,
        mask_index_type=1,
    )
    image, settings = {"x": Input(IMAGE)}, {"groups": 4, "activation": 1, "channels_last": 0}
    weights = {**scale, **shift}

    def normalized(x: Any) -> Any:
        if not x.size:
            return x
        result = torch.nn.functional.group_norm(
            *map(torch.from_numpy, (x,)), 4, *map(torch.from_numpy, weights.values())
        )
        return torch.nn.functional.silu(result).numpy()

    yield _case("GroupNorm", image, weights, answer=lambda x: [normalized(x)], **settings)

    def skipped(x: Any, skip: Any) -> list[Any]:
        total = x + skip[:, :, None, None] + bias["bias"][:, None, None]
        return [normalized(total), total]

    inputs = {**image, "skip": Input("batch 8")}
    order = "x gamma beta skip bias"
    yield _case("SkipGroupNorm", inputs, {**weights, **bias}, order=order, outputs=2, answer=skipped, **settings)


def _products() -> Iterator[SweepCase]:
    a, b = {"a": Input("batch rows items")}, {"b": Input("batch items columns")}
    yield _case("TransposeMatMul", {**a, **b}, alpha=0.5)
    yield _case(
        "FusedMatMulActivation",
        {**a, **b},
        activation="Relu",
        alpha=0.5,
        answer=lambda a, b: [np.maximum(a @ b * 0.5, 0)],
    )
    weights = {"w": array(4, 3, 3, 3, seed=1), "b": array(4, seed=2)}
    images = {"x": Input("batch 3 height width"), "z": Input("batch 4 height width")}
    yield _case("FusedConv", images, weights, order="x w b z", activation="Relu", pads=[1, 1, 1, 1])
    rng = np.random.default_rng(0)
    packed = {
        "b": rng.integers(0, 256, (6, 3, 8)).astype(np.uint8),
        "scales": rng.uniform(0.01, 0.1, (6, 3)).astype(np.float32),
    }
    yield _case("MatMulNBits", {"a": Input("batch rows 40")}, packed, K=40, N=6, bits=4, block_size=16)


def _attention() -> Iterator[SweepCase]:
    projection = {"w": array(16, 96, seed=1) / 4, "b": array(96, seed=2)}
    yield _case("Attention", {"x": Input("batch length 16")}, projection, num_heads=4)
    quantized = {
        "w": _steps(16, 96, dtype=np.int8), "b": array(96, seed=2), "xs": np.float32(0.02), "ws": np.float32(0.004),
        "xz": np.uint8(120), "wz": np.int8(0),
    }  # fmt: skip
    x = {"x": Input("batch length 16", np.uint8, high=255)}
    yield _case("QAttention", x, quantized, order="x w b xs ws _ xz wz", num_heads=4)
    heads = {"q": Input("batch length 32"), "k": Input("batch keys 32"), "v": Input("batch keys 32")}
    yield _case("MultiHeadAttention", heads, num_heads=4)
    angles = np.outer(np.arange(32), 10.0 ** -np.arange(4)).astype(np.float32)
    caches = {"cos": np.cos(angles), "sin": np.sin(angles)}
    at = {"x": Input("batch length 32"), "at": Input("batch length", np.int64, high=9)}
    yield _case("RotaryEmbedding", at, caches)
    grouped = {
        "q": Input("batch 1 64"), "k": Input("batch 1 32"), "v": Input("batch 1 32"), "past_k": Input("batch 2 past 16"),
        "past_v": Input("batch 2 past 16"), "lengths": Input("batch", np.int32, 0, 1), "total": Input("", np.int32, 1, 2),
    }  # fmt: skip
    yield _case("GroupQueryAttention", grouped, outputs=3, num_heads=4, kv_num_heads=2)


def _steps(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> Any:
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)


_X = {"xs": np.float32(0.04), "xz": np.uint8(120)}
_Y = {"ys": np.float32(0.1), "yz": np.uint8(110)}
_B = {"bs": np.float32(0.05), "bz": np.uint8(140)}


def _bytes(dims: str) -> Input:
    return Input(dims, np.uint8, high=256)


def _quantized() -> Iterator[SweepCase]:
    """Pointwise operators and pools of 8 bits."""
    yield _case("QuantizeLinear", {"x": Input("batch rows columns")}, _X)
    yield _case("DequantizeLinear", {"x": _bytes("batch rows columns")}, _X)
    both = {"a": _bytes("batch rows columns"), "b": _bytes("batch rows columns")}
    for op_type in ("QLinearAdd", "QLinearMul"):
        yield _case(op_type, both, {**_X, **_B, **_Y}, order="a xs xz b bs bz ys yz")
    yield _case("QLinearConcat", both, {**_X, **_B, **_Y}, order="ys yz a xs xz b bs bz", axis=2)
    chosen = {"if": Input("batch rows columns", np.bool_), **both}
    yield _case("QLinearWhere", chosen, {**_X, **_B, **_Y}, order="if a xs xz b bs bz ys yz")
    rows = {"x": _bytes("batch rows columns")}
    yield _case("QLinearSigmoid", rows, {**_X, **_Y})
    yield _case("QLinearLeakyRelu", rows, {**_X, **_Y}, alpha=0.2)
    yield _case("QLinearSoftmax", rows, {**_X, **_Y}, axis=-1, opset=13)
    image = {"x": _bytes("batch 3 height width")}
    yield _case("QLinearGlobalAveragePool", image, {**_X, **_Y}, channels_last=0)
    window: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    yield _case("QLinearAveragePool", image, {**_X, **_Y}, channels_last=0, **window)


def _quantized_products() -> Iterator[SweepCase]:
    kernel = {
        "w": _steps(4, 3, 3, 3, dtype=np.int8) // 2, "ws": np.float32(0.01), "wz": np.int8(0), "b": np.int32([100, 0, -100, 5])
    }  # fmt: skip
    image = {"x": _bytes("batch height width 3")}
    order = "x xs xz w ws wz ys yz b"
    yield _case("QLinearConv", image, {**_X, **kernel, **_Y}, order=order, channels_last=1, pads=[1, 1, 1, 1])
    matrix = {"b": _steps(6, 4, dtype=np.int8), "bs": np.float32(0.02), "bz": np.int8(5), "c": array(4, seed=3)}
    yield _case("MatMulIntegerToFloat", {"a": _bytes("batch rows 6")}, {**_X, **matrix}, order="a b xs bs xz bz c")
    yield _case("DynamicQuantizeMatMul", {"a": Input("batch rows 6")}, matrix, order="a b bs bz c")
    gemm = {**matrix, **_X, "c": np.int32([100, -200, 300, 0])}
    yield _case("QGemm", {"a": _bytes("rows 6")}, gemm, order="a xs xz b bs bz c")


def _features() -> Iterator[SweepCase]:
    rows = {"x": Input("batch 4")}

    def case(op_type: str, inputs: Mapping[str, Input], version: int = 3, **attributes: Any) -> SweepCase:
        return _case(op_type, inputs, domain=ML, version=version, **attributes)

    yield case("Scaler", rows, offset=[1.0, 2.0, 3.0, 4.0], scale=[0.5, 0.2, 3.0, 1.0])
    yield case("Normalizer", rows, norm="L2")
    yield case("Imputer", rows, imputed_value_floats=[1.0, 2.0, 3.0, 4.0], replaced_value_float=np.nan)
    yield case("FeatureVectorizer", {**rows, "z": Input("batch 2")}, inputdimensions=[4, 2])
    yield case("OneHotEncoder", {"x": Input("batch columns", object)}, cats_strings=["a", "b", "c"])
    table: dict[str, Any] = {"cats_int64s": [10, 20], "cats_strings": ["a", "b"]}
    yield case("CategoryMapper", {"x": Input("batch columns", object)}, default_int64=-7, **table)


def _estimators() -> Iterator[SweepCase]:
    from tests.bundler.converters.native.ops.test_ml_svm import machine
    from tests.bundler.converters.native.ops.test_ml_trees import leaf_weights, random_forest

    rows = {"x": Input("batch 4")}
    linear: dict[str, Any] = {"coefficients": array(12, seed=1).tolist(), "intercepts": [0.1, -0.2, 0.3]}
    yield _case("LinearRegressor", rows, domain=ML, targets=3, **linear)
    yield _case("LinearClassifier", rows, domain=ML, outputs=2, classlabels_ints=[5, 3, 8], **linear)
    svm = machine(2, "RBF")
    yield _case("SVMRegressor", rows, domain=ML, n_supports=4, **svm)
    yield _case("SVMClassifier", rows, domain=ML, outputs=2, classlabels_ints=[4, 9], vectors_per_class=[2, 2], **svm)
    nodes, leaves = random_forest(2)
    yield _case(
        "TreeEnsembleRegressor", rows, domain=ML, version=3, n_targets=1, **nodes, **leaf_weights(leaves, "target", [0])
    )
    weights = leaf_weights(leaves, "class", [0, 1, 2], low=0.0)
    yield _case(
        "TreeEnsembleClassifier",
        rows,
        domain=ML,
        version=3,
        outputs=2,
        classlabels_int64s=[4, 7, 9],
        **nodes,
        **weights,
    )

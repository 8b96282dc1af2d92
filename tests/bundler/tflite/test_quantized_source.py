"""Models that come quantized, by ONNX Runtime's quantizer: integer operators with the very same scales."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from bundler.errors import UsageError
from bundler.spec import TfliteSpec
from bundler.tflite import check_request
from bundler.tflite.contents import count, operators
from bundler.tflite.quantized_source import comes_quantized
from tests.bundler.converters.native.oracle import array, model_of
from tests.bundler.tflite.lowered import Lowered

Array = npt.NDArray[Any]
IMAGE, ROWS = (1, 3, 16, 16), (1, 6, 8)


def convolutional() -> onnx.ModelProto:
    """Convolutions of both kinds, a sum of two branches, a pool, a mean and a product."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "k1", "b1"], ["c1"], "conv", pads=[1] * 4, strides=[2, 2]), node("Relu", ["c1"], ["r1"], "relu"),
        node("Conv", ["r1", "k2", "b1"], ["c2"], "depthwise", pads=[1] * 4, group=8), node("Relu", ["c2"], ["r2"], "relu2"),
        node("Conv", ["r2", "k3", "b1"], ["c3"], "pointwise"), node("Add", ["r1", "c3"], ["s"], "sum"),
        node("MaxPool", ["s"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["p"], ["g"], "mean"), node("Flatten", ["g"], ["f"], "flat"),
        node("Gemm", ["f", "w", "b2"], ["y"], "head", transB=1),
    ]  # fmt: skip
    weights = {
        "k1": 0.3 * array(8, 3, 3, 3, seed=1), "b1": array(8, seed=2), "k2": 0.3 * array(8, 1, 3, 3, seed=3),
        "k3": 0.3 * array(8, 8, 1, 1, seed=4), "w": 0.3 * array(5, 8, seed=5), "b2": array(5, seed=6),
    }  # fmt: skip
    return model_of(nodes, {"x": array(*IMAGE)}, ["y"], weights)


def linear() -> onnx.ModelProto:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "product")]
    return model_of(nodes, {"x": array(*ROWS)}, ["y"], {"w": 0.3 * array(8, 5, seed=1)})


class Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, shape: tuple[int, ...]) -> None:
        self._calls = iter([{"x": array(*shape, seed=seed)} for seed in range(8)])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._calls, None)


def quantize(model: onnx.ModelProto, shape: tuple[int, ...], folder: Path, activations: QuantType, per_channel: bool) -> Path:
    onnx.save(model, folder / "float.onnx")
    quantize_static(
        folder / "float.onnx", folder / "quantized.onnx", Reader(shape), quant_format=QuantFormat.QDQ,
        per_channel=per_channel, activation_type=activations, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return folder / "quantized.onnx"


FORMS = [(QuantType.QUInt8, True), (QuantType.QInt8, True), (QuantType.QInt8, False)]


@pytest.mark.parametrize(("activations", "per_channel"), FORMS, ids=["uint8 by channel", "int8 by channel", "int8"])
@pytest.mark.parametrize(("make", "shape"), [(convolutional, IMAGE), (linear, ROWS)], ids=["convolutional", "linear"])
def test_scales_and_answers_are_the_models_own(
    make: Any, shape: tuple[int, ...], activations: QuantType, per_channel: bool, tmp_path: Path
) -> None:
    file = quantize(make(), shape, tmp_path, activations, per_channel)
    model = onnx.load(file)
    lowered = Lowered(model, {"x": array(*shape, seed=9)}, tmp_path, "int8")
    assert count(operators(lowered.path), only_float=True) == {}
    assert lowered.delegation.share == 1.0
    want, have = scales_of(model), scales_in(lowered.path)
    for name, scales in want.items():
        worst = max(float(np.min(np.abs(have - scale) / scale)) for scale in scales)
        assert worst <= 1e-6, f"{name} is off by {worst:.2g}"
    lowered.assert_answers(atol=1.01 * float(want["y_scale"][0]), rtol=0)


def scales_of(model: onnx.ModelProto) -> Mapping[str, Array]:
    """Of weights and activations; a bias has the product of both."""
    arrays = {i.name: numpy_helper.to_array(i).reshape(-1) for i in model.graph.initializer}
    return {name: a for name, a in arrays.items() if name.endswith("_scale") and not name.startswith("b")}


def scales_in(path: Path) -> Array:
    details = Interpreter(model_path=str(path)).get_tensor_details()
    return np.concatenate([detail["quantization_parameters"]["scales"] for detail in details])


def test_no_calibration_is_asked_for(tmp_path: Path) -> None:
    file = quantize(linear(), ROWS, tmp_path, QuantType.QInt8, False)
    assert comes_quantized(str(file))
    assert comes_quantized("quantized.onnx", tmp_path)
    check_request(TfliteSpec(variants=("int8",)), tmp_path, "quantized.onnx")
    for other in ("float.onnx", "missing.onnx", "model.py:make", "timm:resnet18"):
        assert not comes_quantized(other, tmp_path)
        with pytest.raises(UsageError, match="needs calibration"):
            check_request(TfliteSpec(variants=("int8",)), tmp_path, other)

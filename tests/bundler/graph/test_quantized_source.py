"""Models that are already quantized become integer operators with the very same scales."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from bundler.errors import UsageError
from bundler.graph.quantized_source import comes_quantized
from bundler.spec.bundle_spec import TfliteSpec
from bundler.tflite import check_request
from bundler.tflite.contents import count, operators
from bundler.values.arrays import Array
from tests.bundler.converters.native.oracle import array, model_of
from tests.bundler.tflite.lowered import Lowered
from tests.requirements import require

IMAGE, ROWS = (1, 3, 16, 16), (1, 6, 8)


def convolutional() -> onnx.ModelProto:
    """A model with dense and depthwise convolutions, a sum of two branches, a pool, a mean and a product."""
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


@pytest.mark.sample(3)
@pytest.mark.parametrize(("activations", "per_channel"), FORMS, ids=["uint8 by channel", "int8 by channel", "int8"])
@pytest.mark.parametrize(("make", "shape"), [(convolutional, IMAGE), (linear, ROWS)], ids=["convolutional", "linear"])
def test_scales_and_answers_are_those_of_the_model(
    make: Any, shape: tuple[int, ...], activations: QuantType, per_channel: bool, tmp_path: Path
) -> None:
    file = quantize(make(), shape, tmp_path, activations, per_channel)
    model = onnx.load(file)
    lowered = Lowered(model, {"x": array(*shape, seed=9)}, tmp_path, "int8")
    assert count(operators(lowered.path), only_float=True) == {}
    assert lowered.delegation.share == 1.0
    expected, actual = model_scales(model), file_scales(lowered.path)
    for name, scales in expected.items():
        worst = max(float(np.min(np.abs(actual - scale) / scale)) for scale in scales)
        assert worst <= 1e-6, f"{name} is off by {worst:.2g}"
    lowered.assert_answers(atol=1.01 * float(expected["y_scale"][0]), rtol=0)


def model_scales(model: onnx.ModelProto) -> Mapping[str, Array]:
    """Return the scales of weights and activations; that of a bias is the product of both."""
    arrays = {i.name: numpy_helper.to_array(i).reshape(-1) for i in model.graph.initializer}
    return {name: a for name, a in arrays.items() if name.endswith("_scale") and not name.startswith("b")}


def file_scales(path: Path) -> Array:
    details = Interpreter(model_path=str(path)).get_tensor_details()
    return np.concatenate([detail["quantization_parameters"]["scales"] for detail in details])


def test_quantized_source_needs_no_calibration(tmp_path: Path) -> None:
    file = quantize(linear(), ROWS, tmp_path, QuantType.QInt8, False)
    assert comes_quantized(str(file))
    assert comes_quantized("quantized.onnx", tmp_path)
    check_request(TfliteSpec(variants=("int8",)), tmp_path, "quantized.onnx")
    for other in ("float.onnx", "missing.onnx", "model.py:make", "timm:resnet18"):
        assert not comes_quantized(other, tmp_path)
        with pytest.raises(UsageError, match="needs calibration"):
            check_request(TfliteSpec(variants=("int8",)), tmp_path, other)


class Quantized(torch.nn.Module):
    """A product as PyTorch's export quantization (PT2E) writes it: activations per tensor, weights per channel."""

    def __init__(self) -> None:
        super().__init__()
        weight = 0.3 * torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
        scales = weight.abs().amax(1) / 127
        self.register_buffer("scales", scales)
        self.register_buffer("zeros", torch.zeros(5, dtype=torch.int64))
        self.register_buffer("weight", (weight / scales[:, None]).round().to(torch.int8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ops = torch.ops.quantized_decomposed
        inputs = ops.quantize_per_tensor(x, 0.03, 124, 0, 255, torch.uint8)
        inputs = ops.dequantize_per_tensor(inputs, 0.03, 124, 0, 255, torch.uint8)
        weight = ops.dequantize_per_channel(self.weight, self.scales, self.zeros, 0, -128, 127, torch.int8)
        product = torch.nn.functional.linear(inputs, weight)
        outputs = ops.quantize_per_tensor(product, 0.05, 128, 0, 255, torch.uint8)
        return ops.dequantize_per_tensor(outputs, 0.05, 128, 0, 255, torch.uint8)


MAKE = """
import sys, warnings; warnings.simplefilter("ignore")
import torch
import torch.ao.quantization.fx._decomposed
from tests.bundler.graph.test_quantized_source import Quantized
batch = {0: torch.export.Dim("batch")}
program = torch.export.export(Quantized().eval(), (torch.randn(2, 8),), dynamic_shapes=(batch,))
torch.export.save(program, sys.argv[1])
"""

TORCHAO = Path(sys.prefix) / "torchao"

QUANTIZE = f"""
import sys, warnings; warnings.simplefilter("ignore")
sys.path.append({str(TORCHAO)!r})
import torch
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer, get_default_x86_inductor_quantization_config,
)
torch.manual_seed(0)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, 2, 1), nn.Linear(16, 5)

    def forward(self, image):
        return self.head(torch.relu(self.two(torch.relu(self.one(image)))).mean((2, 3)))

batch, image = ({{0: torch.export.Dim("batch")}},), torch.randn(2, 3, 16, 16)
program = torch.export.export(Net().eval(), (image,), dynamic_shapes=batch).module()
quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
prepared = prepare_pt2e(program, quantizer)
for _ in range(8):
    prepared(torch.randn(2, 3, 16, 16))
torch.export.save(torch.export.export(convert_pt2e(prepared), (image,), dynamic_shapes=batch), sys.argv[1])
"""


def run_script(script: str, path: Path) -> Path:
    """Write the file in a separate process, so that the import that registers the operators is not present when it is read."""
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return path


def run_build(path: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bundler", "build", str(path), "-o", str(out), "--name", "q", "--tflite", "int8"]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_program_of_export_quantization_becomes_integers(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_build(run_script(MAKE, tmp_path / "q.pt2"), out, "--tolerance", "0.02")
    assert done.returncode == 0, done.stderr
    (file,) = out.glob("tflite/q/1/*int8.tflite")
    assert count(operators(file), only_float=True) == {}
    np.testing.assert_allclose(sorted(set(file_scales(file)) & {np.float32(0.03), np.float32(0.05)}), [0.03, 0.05], rtol=1e-6)


@pytest.mark.slow
def test_program_of_torchao_becomes_integers(tmp_path: Path) -> None:
    require(TORCHAO.is_dir(), f"torchao in {TORCHAO} (make venv)")
    path, out = run_script(QUANTIZE, tmp_path / "net.pt2"), tmp_path / "out"
    strict = run_build(path, out)
    if strict.returncode:  # a value between two steps
        assert strict.returncode == 3
        assert "the model is quantized" in strict.stderr and "--tolerance 0.01" in strict.stderr
        assert not out.exists()
    done = run_build(path, tmp_path / "allowed", "--tolerance", "0.01")
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "allowed").glob("tflite/q/1/*int8.tflite")
    found = operators(file)
    assert "FAKE_QUANT" not in count(found)
    # Its quantizer leaves the second convolution's output in float: that layer stays in float.
    assert next(o.inputs[:2] for o in found if o.name == "CONV_2D") == ("INT8", "INT8")
    assert count(found)["CONV_2D"] > count(found, only_float=True)["CONV_2D"]

"""A model with an image input, and a check of C++ code, for the tests of this folder."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bundler.mobile.model import MobileModel, MobileVariant
from bundler.values.signature import Signature, TensorSpec
from tests.requirements import require_program

HEADERS = Path(__file__).parent / "tflite_headers"
CLASSES = ("no", "yes", "ça dépend")


def image_model(text: str, **changes: Any) -> MobileModel:
    spec, output = TensorSpec.parse(text), TensorSpec.parse("scores=float32[1,3]")
    served = TensorSpec.parse("scores=float32[batch,3]")
    variant = MobileVariant("float16", Path("m-float16.tflite"), (spec,), (output,), {1: 1.0}, {"CONV_2D": 1}, "not known")
    return MobileModel("my-net.v2", 2, "net.py:make", Signature((spec,), (served,)), (variant,), **changes)


def assert_cpp_compiles(text: str, folder: Path) -> None:
    """Compile against declarations from LiteRT's headers, which finds mistakes in the form and the types of calls."""
    compiler = require_program("g++", "clang++", install="apt-get install g++")
    file = folder / "call.cc"
    file.write_text(text, "utf-8")
    command = [compiler, "-std=c++17", "-Wall", "-Werror", "-fsyntax-only", "-I", str(HEADERS), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


COLORS = ("blue", "green", "red")
"""Channels of a BGR image, in order."""
BGR = {
    "channels": "bgr", "resize": 12, "crop": "center", "interpolation": "bicubic",
    "mean": (0.406, 0.456, 0.485), "std": (0.225, 0.224, 0.229),
}  # fmt: skip


def write_color_model(path: Path) -> Path:
    """Write an ONNX model that tells which of the three channels of a BGR image, [batch, 3, 8, 10], is the strongest."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    kernel = np.eye(3, dtype=np.float32)[:, :, None, None] * 0.1 + rng.normal(size=(3, 3, 3, 3)).astype(np.float32) * 0.01
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "kernel"], ["h"], "filter", pads=[1, 1, 1, 1]),
            helper.make_node("GlobalAveragePool", ["h"], ["p"], "pool"),
            helper.make_node("Flatten", ["p"], ["scores"], "flatten"),
        ],
        "colors",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 8, 10])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, path)
    return path


def write_photos(folder: Path, count: int = 16) -> Path:
    """Write noisy images of several sizes in which red, green and blue prevail in turn."""
    from PIL import Image

    rng = np.random.default_rng(1)
    folder.mkdir()
    for index in range(count):
        pixels = rng.integers(0, 128, (14 + index, 19, 3), np.uint8)
        pixels[..., index % 3] += 120
        Image.fromarray(pixels).save(folder / f"{index:02}.png")
    return folder


def build_color_bundle(folder: Path, variants: Sequence[str]) -> Path:
    """Build the model of `write_color_model`, calibrated with images that are preprocessed as `BGR` says."""
    import bundler

    model, photos = write_color_model(folder / "colors.onnx"), write_photos(folder / "photos")
    bundler.build(model, out=folder / "bundle", tflite=variants, calibration=str(photos), images=BGR)
    return folder / "bundle"

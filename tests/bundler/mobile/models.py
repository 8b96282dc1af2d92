"""A model with an image input, and a check of C++ code, for the tests of this folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bundler.mobile.calls import VariantCall, call_of
from bundler.mobile.golden import make_golden
from bundler.mobile.metadata import Labels
from bundler.mobile.model import MobileModel, MobileVariant
from bundler.mobile.snippets import libraries, snippets
from bundler.mobile.tensors import Array
from bundler.render.files import write_text
from bundler.values.signature import Signature, TensorSpec
from tests.requirements import require_program

HEADERS = Path(__file__).parent / "tflite_headers"
CLASSES = ("no", "yes", "ça dépend")


def image_model(text: str, **changes: Any) -> MobileModel:
    spec, output = TensorSpec.parse(text), TensorSpec.parse("scores=float32[1,3]")
    served = TensorSpec.parse("scores=float32[batch,3]")
    variant = MobileVariant("float16", Path("m-float16.tflite"), (spec,), (output,), {1: 1.0}, {"CONV_2D": 1}, "not known")
    return MobileModel("my-net.v2", 2, "net.py:make", Signature((spec,), (served,)), (variant,), **changes)


TREES = ("tflite", "tensorflow")
"""Folders of `HEADERS`: LiteRT's own tree and TensorFlow's."""


def assert_cpp_compiles(file: Path, tree: str = TREES[0]) -> None:
    """Compile against declarations from LiteRT's headers, which finds mistakes in the form and the types of calls."""
    compiler = require_program("g++", "clang++", install="apt-get install g++")
    command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I", str(HEADERS / tree), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run_exported(out: Path, code: str) -> str:
    """Run code in an export's python/, which may import ai_edge_litert, NumPy and Pillow; return what it prints."""
    check = "bad = {'bundler', 'serving', 'tensorflow', 'torch'} & set(sys.modules); assert not bad, bad"
    command = [sys.executable, "-I", "-c", f"import runpy, sys; sys.path.insert(0, '.'); {code}\n{check}"]
    done = subprocess.run(command, cwd=out / "python", capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_golden_test(language: str, out: Path, name: str) -> tuple[bool, str]:
    """Run an export's golden test of a model in Python, C++ or JavaScript; return whether it passed, and its output."""
    if language == "python":
        code = f"import sys; sys.path.insert(0, '.'); import runpy; runpy.run_path('test_{name}.py', run_name='__main__')"
        commands = [[sys.executable, "-I", "-c", code]]
    elif language == "js":
        commands = [[require_program("node", install="apt-get install nodejs"), "--test", f"{name}.test.mjs"]]
    else:
        compiler = require_program("g++", "clang++", install="apt-get install g++")
        program = str(out.parent / f"{name}_test")
        commands = [
            [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-o", program, f"{name}_test.cc"], [program, ".."],
        ]  # fmt: skip
    text = ""
    for command in commands:
        done = subprocess.run(command, cwd=out / language, capture_output=True, text=True, check=False, timeout=120)
        text += done.stdout + done.stderr
        if done.returncode:
            return False, text
    return True, text


def write_code(model: MobileModel, labels: Labels | None, folder: Path) -> Path:
    """Write the code and golden data of a model whose outputs are random; return `folder`."""
    call = call_of(model, {variant.name: f"{model.name}-{variant.name}.tflite" for variant in model.variants})
    rng = np.random.default_rng(0)

    def run(variant: VariantCall, inputs: Mapping[str, Array]) -> dict[str, Array]:
        assert all(inputs[t.name].dtype == t.dtype and inputs[t.name].shape == t.shape for t in variant.inputs)
        return {t.name: rng.integers(0, 2 if t.dtype == "bool" else 100, t.shape).astype(t.dtype) for t in variant.outputs}

    golden = make_golden(call, run, labels)
    for name, content in golden.files.items():
        (folder / golden.folder).mkdir(parents=True, exist_ok=True)
        (folder / golden.folder / name).write_bytes(content)
    if labels:
        (folder / labels.file).write_bytes(labels.content)
    for path, text in (libraries() | snippets(call, golden, labels)).items():
        write_text(folder / path, text)
    return folder


COLORS = ("blue", "green", "red")
"""Channels of a BGR image, in order."""
BGR = {
    "channels": "bgr", "resize": 12, "crop": "center", "interpolation": "bicubic",
    "mean": (0.406, 0.456, 0.485), "std": (0.225, 0.224, 0.229), "fold": False,
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


def build_color_bundle(folder: Path, variants: Sequence[str], *, fold: bool = False) -> Path:
    """Build the model of `write_color_model`, calibrated with images that are preprocessed as `BGR` says.

    With `fold`, the files take RGB pixels, channels last; otherwise, what the model takes.
    """
    import bundler

    model, photos = write_color_model(folder / "colors.onnx"), write_photos(folder / "photos")
    bundler.build(
        model, out=folder / "bundle", tflite=variants, calibration=str(photos), images={**BGR, "fold": fold},
        layout=None if fold else "keep",
    )  # fmt: skip
    return folder / "bundle"

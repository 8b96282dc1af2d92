"""A model with an image input, and a check of C++ code, for the tests of this folder."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

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

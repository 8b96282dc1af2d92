"""Code that calls an exported model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundler.errors import UsageError
from bundler.mobile.model import MobileModel, MobileVariant, Preprocessing
from bundler.mobile.snippets import arguments, snippets
from bundler.values.signature import Signature, TensorSpec
from tests.bundler.mobile.models import assert_cpp_compiles, image_model


@pytest.mark.parametrize("text", ["x=float32[1,3,8,6]", "x=float32[1,8,6,3]"])
def test_python_code_normalizes_pixels(text: str) -> None:
    model = image_model(text, preprocessing=Preprocessing((1.0, 2.0, 3.0), (2.0, 2.0, 2.0)))
    code = snippets(model, "m.tflite", None)["python/my_net_v2.py"]
    space: dict[str, Any] = {"__name__": "snippet", "__file__": "/x/python/y.py"}
    exec(compile(code, "snippet", "exec"), space)
    pixels = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
    got = space["prepare"](pixels)
    want = (pixels.astype(np.float32) - np.float32([1, 2, 3])) / 2
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[0], want if text.endswith("3]") else want.transpose(2, 0, 1), rtol=1e-6)


def test_names_become_unique_variables() -> None:
    texts = ("input.1=float32[1]", "input/1=int64[1]", "class=bool[1]", "x-y=uint8[2,3]", "outputs=int8[1]")
    inputs = arguments(tuple(map(TensorSpec.parse, texts)))
    assert [a.ident for a in inputs] == ["input_1", "input_1_", "class_", "x_y", "outputs_"]
    assert [a.count for a in inputs] == [1, 1, 1, 6, 1]
    with pytest.raises(UsageError, match="Cannot generate code that passes"):
        arguments((TensorSpec("x", "string", (1,)),))


def test_every_type_is_supported_in_every_language(tmp_path: Path) -> None:
    dtypes = ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
    inputs = tuple(TensorSpec(f"in.{dtype}", dtype, (2, 3)) for dtype in dtypes)
    outputs = tuple(TensorSpec(f"out.{dtype}", dtype, ()) for dtype in dtypes)
    variant = MobileVariant("int8", Path("m.tflite"), inputs, outputs, {}, {}, "not known")
    model = MobileModel("m", 1, "m.onnx", Signature(inputs, outputs), (variant,))
    texts_by_path = snippets(model, "m-int8.tflite", None)
    assert set(texts_by_path) == {"python/m.py", "kotlin/MModel.kt", "swift/MModel.swift", "cpp/m.cc"}
    compile(texts_by_path["python/m.py"], "m.py", "exec")
    for path, text in texts_by_path.items():
        assert all(f'"in.{dtype}"' in text and f"out.{dtype}" in text for dtype in dtypes), path
        for opening, closing in ("()", "{}", "[]"):
            assert text.count(opening) == text.count(closing), path
    assert_cpp_compiles(texts_by_path["cpp/m.cc"], tmp_path)


def test_python_code_quantizes_and_the_other_languages_explain_how() -> None:
    inputs, outputs = (TensorSpec("x", "int8", (1, 4)),), (TensorSpec("y", "uint8", (1, 3)),)
    scales = {"x": (0.5, -3), "y": (0.25, 128)}
    variant = MobileVariant("int8-io", Path("m.tflite"), inputs, outputs, {}, {}, "not known", scales=scales)
    model = MobileModel("m", 1, "m.onnx", Signature(inputs, outputs), (variant,))
    texts_by_path = snippets(model, "m-int8-io.tflite", None)
    space: dict[str, Any] = {"__name__": "snippet", "__file__": "/x/python/y.py"}
    exec(compile(texts_by_path["python/m.py"], "snippet", "exec"), space)
    instance = space["MModel"].__new__(space["MModel"])
    seen: dict[str, Any] = {}

    def run_signature(**inputs: Any) -> dict[str, Any]:
        seen.update(inputs)
        return {"y": np.uint8([[128, 0, 130]])}

    instance._run = run_signature
    y = instance([[0.0, 1.0, -1000.0, 1000.0]])["y"]
    assert seen["x"].dtype == np.int8 and seen["x"].tolist() == [[-3, -1, -128, 127]]
    assert y.dtype == np.float32 and y.tolist() == [[0.0, -32.0, 0.5]]
    for language in ("kotlin/MModel.kt", "swift/MModel.swift", "cpp/m.cc"):
        assert "int8 [1, 4], representing 0.5 * (integer - -3)" in texts_by_path[language]
        assert "uint8 [1, 3], representing 0.25 * (integer - 128)" in texts_by_path[language]


def test_code_names_the_models_dtypes() -> None:
    inputs, outputs = (TensorSpec("ids", "int32", (1, 4)),), (TensorSpec("y", "float32", (1, 3)),)
    variant = MobileVariant("float32", Path("m.tflite"), inputs, outputs, {}, {}, "not known", model_dtypes={"ids": "int64"})
    texts_by_path = snippets(MobileModel("m", 1, "m.onnx", Signature(inputs, outputs), (variant,)), "m-float32.tflite", None)
    for language in ("kotlin/MModel.kt", "swift/MModel.swift", "cpp/m.cc"):
        assert "int32 [1, 4]; int64 in the model" in texts_by_path[language]

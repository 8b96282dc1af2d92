"""Names, types and preprocessing for the code of an export."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bundler.errors import UsageError
from bundler.mobile.calls import arguments, call_of
from bundler.mobile.model import Preprocessing
from bundler.mobile.tensors import ImageInput
from bundler.values.signature import TensorSpec
from tests.bundler.mobile.models import image_model


def test_names_become_unique_variables() -> None:
    texts = ("input.1=float32[1]", "input/1=int64[1]", "INPUT_1=int8[1]", "class=bool[1]", "x-y=uint8[2,3]", "outputs=int8[1]")
    inputs = arguments(tuple(map(TensorSpec.parse, texts)))
    assert [a.ident for a in inputs] == ["input_1", "input_1_", "INPUT_1__", "class_", "x_y", "outputs_"]
    assert [a.count for a in inputs] == [1, 1, 1, 1, 6, 1]
    with pytest.raises(UsageError, match="Cannot generate code that passes"):
        arguments((TensorSpec("x", "string", (1,)),))


def test_image_input_has_the_declared_preprocessing() -> None:
    declared = Preprocessing((1.0,), (2.0, 3.0, 4.0), (9, 10), True, "lanczos", "bgr")
    call = call_of(image_model("x=float32[1,3,8,6]", preprocessing=declared), {"float16": "m.tflite"})
    assert call.image is not None and call.image.name == "x"
    assert call.image.spec == ImageInput(8, 6, 3, True, "bgr", (9, 10), "lanczos", (1.0,), (2.0, 3.0, 4.0))
    assert call.image.steps[:2] == ("resize to 9x10 (lanczos, antialiased)", "cut 8x6 (height x width) from the middle")


@pytest.mark.parametrize(("name", "ident"), [("numpy", "numpy_model"), ("math", "math_model"), ("mobilenet-v3", "mobilenet_v3")])
def test_code_of_a_model_hides_no_module(name: str, ident: str) -> None:
    assert call_of(replace(image_model("x=float32[1,3,8,6]"), name=name), {"float16": "m.tflite"}).ident == ident


@pytest.mark.parametrize("inputs", [("x=float32[1,3,8,6]", "y=float32[1,3,8,6]"), ("x=int64[1,3,8,6]",), ("x=float32[2,3,8,6]",)])
def test_preprocessing_is_for_one_image(inputs: tuple[str, ...]) -> None:
    model = image_model(inputs[0], preprocessing=Preprocessing())
    variant = replace(model.variants[0], inputs=tuple(map(TensorSpec.parse, inputs)))
    assert call_of(replace(model, variants=(variant,)), {"float16": "m.tflite"}).image is None

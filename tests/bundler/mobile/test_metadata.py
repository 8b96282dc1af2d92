"""Metadata of exported files."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bundler.mobile.metadata import Image, Tensors, model_metadata
from bundler.mobile.model import Preprocessing
from bundler.values.signature import TensorSpec
from tests.bundler.mobile.models import image_model


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("x=float32[1,3,32,48]", Image(32, 48, 3, True)),
        ("x=uint8[1,32,48,3]", Image(32, 48, 3, False)),
        ("x=float32[1,1,28,28]", Image(28, 28, 1, True)),
        ("x=float32[1,28,28,1]", Image(28, 28, 1, False)),
        ("x=float32[1,64,28,28]", None),
        ("x=float32[1,3,28]", None),
        ("x=float32[batch,3,28,28]", None),
    ],
)
def test_images_are_recognized_by_their_channels(text: str, image: Image | None) -> None:
    assert Image.of(TensorSpec.parse(text)) == image


@pytest.mark.parametrize("text", ["x=float32[1,3,8,6]", "x=float32[1,8,6,3]"])
def test_metadata_has_the_normalization(text: str) -> None:
    model = image_model(text, preprocessing=Preprocessing((127.5,), (127.5, 64.0, 255.0)))
    tensors = Tensors(("x",), ("scores",))
    (graph,) = model_metadata(model, model.variants[0], None, tensors)["subgraph_metadata"]
    (x,) = graph["input_tensor_metadata"]
    assert x["process_units"] == [{"options": {"NormalizationOptions": {"mean": [127.5] * 3, "std": [127.5, 64.0, 255.0]}}}]
    assert x["stats"] == {"max": [1.0, 127.5 / 64, 0.5], "min": [-1.0, -127.5 / 64, -0.5]}
    is_last = text.endswith("3]")
    assert x["dimension_names"] == ["batch", *(("height", "width", "channels") if is_last else ("channels", "height", "width"))]
    kind = "ImageProperties" if is_last else "FeatureProperties"  # readers assume that an image has channels last
    assert kind in x["content"]["content_properties"]


def test_description_has_the_models_dtype() -> None:
    model = image_model("x=uint8[1,4]")
    variant = replace(model.variants[0], model_dtypes={"x": "bool", "scores": "float64"})
    (graph,) = model_metadata(model, variant, None, Tensors(("x",), ("scores",)))["subgraph_metadata"]
    (x,), (scores,) = graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    assert x["description"] == "uint8 [1, 4]; bool in the model: 0 is false, any other value is true"
    assert scores["description"] == "float32 [1, 3]; float64 in the model"

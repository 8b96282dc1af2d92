"""The signatures that a bundle.yaml declares."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bundler.spec.signature_spec import ExamplesSpec, ImageInputSpec, ImageSpec, SignatureSpec


def test_a_signature_is_a_method_or_wraps_another_signature() -> None:
    assert not SignatureSpec(method="encode").is_derived
    assert SignatureSpec.model_validate({"image": {}, "classify": {}}).is_derived


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"image": {}, "text": {"tokenizer": "t"}}, "image and text cannot be combined; .* by_image and by_text"),
        ({"regress": {}, "inputs": ["x=int8[]"], "outputs": ["y"]}, "inputs, outputs cannot be set"),
        ({"of": "embed"}, "needs a conversion to wrap it with"),
        ({"inputs": ["x"]}, r"does not have the form name=dtype\[dims\]"),
    ],
)
def test_contradictions_are_errors(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SignatureSpec.model_validate(data)


def test_features_are_of_one_example() -> None:
    assert ExamplesSpec(features={"x": "pixels=int64[64]"}).features == {"x": "pixels=int64[64]"}
    with pytest.raises(ValidationError, match=r"a tf\.Example feature is one of float32, int64, string, not int8"):
        ExamplesSpec(features={"x": "pixels=int8[64]"})
    with pytest.raises(ValidationError, match="numbers without the batch"):
        ExamplesSpec(features={"x": "pixels=int64[batch,64]"})


def test_a_crop_needs_the_size_before_it() -> None:
    assert ImageSpec(crop="center", resize=256).resize == 256
    with pytest.raises(ValidationError, match="crop: center needs resize"):
        ImageSpec(crop="center")


def test_fold_is_for_tflite_files_alone() -> None:
    assert ImageInputSpec(preprocess=ImageSpec()).preprocess == ImageSpec()
    with pytest.raises(ValidationError, match="fold is about TFLite files"):
        ImageInputSpec(preprocess=ImageSpec(fold=False))

"""The models of bundle.yaml: the rules between keys, and the properties computed from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bundler.errors import SpecError
from bundler.spec.bundle_spec import BundleSpec, parse_spec, read_spec


def spec(**model: Any) -> BundleSpec:
    return parse_spec({"models": [{"name": "m", "source": "m.py:make", **model}]}, where="bundle.yaml")


def test_labels_add_the_signature_classify() -> None:
    (model,) = spec(labels=["a", "b"], signatures={"embed": {"method": "encode"}, "price": {"regress": {}}}).models
    assert (list(model.methods), list(model.derived)) == (["embed"], ["classify", "price"])
    (model,) = spec(labels=["a", "b"], signatures={"classify": {"classify": {"top_k": 1}}}).models
    assert model.derived["classify"].classify is not None
    assert model.derived["classify"].classify.top_k == 1


def test_auto_mix_adds_the_variant_mix_once() -> None:
    (model,) = spec(tflite={"variants": ["int8", "int8"], "auto_mix": True}).models
    assert model.tflite.variants == ("int8",)
    assert model.tflite.wanted == ("int8", "mix")
    (model,) = spec(tflite={"variants": ["mix"], "auto_mix": True}).models
    assert model.tflite.wanted == ("mix",)


def test_the_fast_path_of_a_model_overrides_that_of_serving() -> None:
    bundle = parse_spec(
        {"models": [{"name": n, "source": "m.onnx", "fast_path": f} for n, f in (("a", None), ("b", False), ("c", True))]},
        where="bundle.yaml",
    )
    assert [bundle.has_fast_path(model) for model in bundle.models] == [False, False, True]
    assert bundle.prefers_tflite
    assert not spec().prefers_tflite


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"serving": {"grpc_port": 9, "rest_port": 9}}, "grpc_port and rest_port are both 9"),
        ({"serving": {"allowed_batch_sizes": [4, 1]}}, "must increase and end with max_batch_size 32"),
        ({"kubernetes": {"replicas": 11}}, "max_replicas 10 is less than replicas 11"),
        ({"kubernetes": {"components": ["models-pvc", "models-bucket"]}}, "both mount /models"),
        ({"models": 2 * [{"name": "m", "source": "m.onnx"}]}, "two models have the name 'm'"),
        ({"models": [{"name": "m", "source": "m", "signatures": {"serving_default": {}}}]}, "is the model itself"),
        ({"models": [{"name": "m", "source": "m", "signatures": {"c": {"of": "x", "classify": {}}}}]}, "no signature 'x'"),
        ([], "must be a mapping with the key 'models'"),
    ],
)
def test_keys_that_contradict_each_other_are_an_error(data: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_spec(data, where="bundle.yaml")


def test_the_image_has_its_tag_and_its_digest() -> None:
    docker = BundleSpec().docker
    assert docker.reference == f"tensorflow/serving:{docker.tag}"
    digest = "sha256:" + 64 * "a"
    assert docker.model_copy(update={"digest": digest}).reference == f"tensorflow/serving:{docker.tag}@{digest}"


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"The file .*absent\.yaml does not exist"):
        read_spec(tmp_path / "absent.yaml")
    with pytest.raises(SpecError, match="cannot be read"):
        read_spec(tmp_path)
    file = tmp_path / "bundle.yaml"
    file.write_text("models: [")
    with pytest.raises(SpecError, match="is not valid YAML"):
        read_spec(file)

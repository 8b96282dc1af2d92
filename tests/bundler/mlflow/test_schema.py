"""MLflow's signature and input example of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundler.bundle.manifest import Manifest
from bundler.mlflow import schema
from bundler.mlflow.choice import Choice
from bundler.mlflow.schema import input_example, model_signature
from bundler.validation.bundle import Bundle
from serving.golden.data import Golden, GoldenCase
from tests.bundler.mlflow.conftest import write_manifest


def tensors(side: Any) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(spec.name, spec.type.name, spec.shape) for spec in side.inputs]


def test_signature_has_names_dtypes_and_dynamic_dims(shared: Bundle, mlflow: Any) -> None:
    signature = model_signature(shared, Choice.of(shared, {}))
    assert tensors(signature.inputs) == [("x", "float32", (-1, 4))]
    assert tensors(signature.outputs) == [("y", "float32", (-1, 3))]
    params = [(spec.name, spec.default) for spec in signature.params.params]
    assert params == [("version", ""), ("signature_name", ""), ("form", "")]
    assert mlflow.models.ModelSignature.from_dict(signature.to_dict()) == signature


def test_signature_of_a_variant_has_its_sizes(shared: Bundle, mlflow: Any) -> None:
    assert tensors(model_signature(shared, Choice("mlp", 2, form="float32")).inputs) == [("x", "float32", (1, 4))]


def test_dtypes_that_json_lacks_become_others(small: Path, mlflow: Any) -> None:
    manifest = Manifest.read(small / "bundle.json")
    record = manifest.models["mlp"][1]
    signature = {
        "inputs": [
            {"name": "text", "dtype": "string", "dims": [None]},
            {"name": "h", "dtype": "bfloat16", "dims": ["batch", 2]},
            {"name": "n", "dtype": "int64", "dims": []},
        ],
        "outputs": [{"name": "ok", "dtype": "bool", "dims": ["batch"]}],
    }
    write_manifest(small, manifest.with_version("mlp", 1, {**record, "signatures": {"serving_default": signature}}))
    found = model_signature(Bundle.open(small), Choice("mlp", 1))
    assert tensors(found.inputs) == [("text", "object", (-1,)), ("h", "float32", (-1, 2)), ("n", "int64", ())]
    assert tensors(found.outputs) == [("ok", "bool", (-1,))]
    assert mlflow.models.ModelSignature.from_dict(found.to_dict()) == found


def golden_of(bundle: Bundle) -> Golden:
    return Golden.load(bundle.layout.golden_file("mlp", 1))


def test_example_is_the_smallest_golden_call_that_fits(shared: Bundle) -> None:
    example = input_example(shared, Choice("mlp", 1))
    assert example is not None and example["x"].shape == (1, 4)
    assert any(np.array_equal(example["x"], case.inputs["x"]) for case in golden_of(shared).cases)


def test_variant_has_an_example_of_its_size(shared: Bundle) -> None:
    example = input_example(shared, Choice("mlp", 1, form="float32"))
    assert example is not None and example["x"].shape == (1, 4)


def test_large_example_is_left_out(shared: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "LARGEST_EXAMPLE", 3)
    assert input_example(shared, Choice("mlp", 1)) is None


def test_adopted_version_has_no_example(shared: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bundle, "is_adopted", lambda self, model, version: True)
    assert input_example(shared, Choice("mlp", 1)) is None


def test_bytes_of_an_example_have_a_form_in_json(shared: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.empty((1, 4), object)
    images[:] = b"\xff\x00"
    case = GoldenCase("serving_default", "image", {"x": images}, {})
    monkeypatch.setattr(Golden, "load", lambda path: Golden("mlp", 1e-4, (case,)))
    example = input_example(shared, Choice("mlp", 1))
    assert example is not None and example["x"].tolist() == [[{"b64": "/wA="}] * 4]

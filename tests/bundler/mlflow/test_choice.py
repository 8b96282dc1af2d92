"""The settings of a logged model: which version of which model answers, in which form and by which signature."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bundler.bundle.manifest import Manifest
from bundler.errors import UsageError, VerifyError
from bundler.mlflow.choice import Choice, forms, size_bytes
from bundler.validation.bundle import Bundle
from tests.bundler.mlflow.conftest import write_manifest


def test_without_settings_the_saved_model_of_the_latest_version_answers(shared: Bundle) -> None:
    assert Choice.of(shared, {}) == Choice("mlp", 2, "serving_default", "saved_model")


@pytest.mark.parametrize(("version", "number"), [(1, 1), ("1", 1), ("stable", 1), ("2", 2), ("", 2), (None, 2)])
def test_version_is_a_number_or_a_label(shared: Bundle, version: object, number: int) -> None:
    assert Choice.of(shared, {"version": version}).version == number


def test_forms_are_those_that_the_version_has(shared: Bundle) -> None:
    assert forms(shared, "mlp", 1) == ("saved_model", "float32")
    assert forms(shared, "mlp", 2) == ("saved_model", "fast_path", "float32")
    sizes = {form: size_bytes(shared, Choice("mlp", 2, form=form)) for form in forms(shared, "mlp", 2)}
    assert sizes["saved_model"] == shared.size_bytes("mlp", 2)
    assert sizes["fast_path"] == shared.layout.fast_path_file("mlp", 2).stat().st_size > 0
    assert sizes["float32"] == shared.layout.tflite_file("mlp", 2, "float32").stat().st_size > 0


def test_empty_settings_leave_a_choice_as_it_is(shared: Bundle) -> None:
    choice = Choice.of(shared, {"version": "stable", "form": "float32"})
    assert choice.changed(shared, {"version": "", "form": None}) is choice
    assert choice.changed(shared, {"form": "saved_model"}) == Choice("mlp", 1)
    assert Choice.of(shared, choice.to_json()) == choice


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"version": "canary"}, "no version or label 'canary'"),
        ({"form": "int8"}, "no form named 'int8'"),
        ({"signature_name": "embed"}, "no signature named 'embed'"),
    ],
)
def test_what_the_bundle_lacks_is_named_with_what_it_has(shared: Bundle, settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        Choice.of(shared, settings)
    assert raised.value.code == "TFB1006"
    assert "choose one of: " in (raised.value.fix or "")


def test_absent_version_and_model_are_named(shared: Bundle) -> None:
    with pytest.raises(VerifyError, match="no version 7"):
        Choice.of(shared, {"version": 7})
    with pytest.raises(VerifyError, match="no model 'ocr'"):
        Choice.of(shared, {"model": "ocr"})


def test_bundle_of_several_models_needs_a_choice(small: Path) -> None:
    manifest = Manifest.read(small / "bundle.json")
    write_manifest(small, replace(manifest, models={**manifest.models, "other": manifest.models["mlp"]}))
    bundle = Bundle.open(small)
    with pytest.raises(UsageError, match="The bundle has 2 models") as raised:
        Choice.of(bundle, {})
    assert raised.value.fix == "choose one with model=: mlp, other"
    assert Choice.of(bundle, {"model": "other"}).model == "other"


def test_variant_has_the_sizes_of_its_file_and_the_dtypes_of_the_model(shared: Bundle) -> None:
    assert str(Choice("mlp", 2).tensors(shared).inputs[0]) == "x=float32[batch,4]"
    assert str(Choice("mlp", 2, form="float32").tensors(shared).inputs[0]) == "x=float32[1,4]"


def test_variant_answers_by_serving_default_alone(small: Path) -> None:
    manifest = Manifest.read(small / "bundle.json")
    record = manifest.models["mlp"][1]
    more = {**record["signatures"], "embed": record["signatures"]["serving_default"]}
    write_manifest(small, manifest.with_version("mlp", 1, {**record, "signatures": more}))
    bundle = Bundle.open(small)
    assert Choice.of(bundle, {"signature_name": "embed"}).signature_name == "embed"
    with pytest.raises(UsageError, match="no signature of the form 'float32' named 'embed'"):
        Choice.of(bundle, {"signature_name": "embed", "form": "float32"})

"""The bill of materials is valid CycloneDX, and each of its facts stands in bundle.json."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from bundler.bundle.manifest import Manifest, Record
from bundler.delivery.supply_chain import bom

RELEASES = Path(__file__).parents[2] / "bundle" / "releases"
VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)
CALIBRATION = {"source": "cal.npz", "samples": 40, "sha256": "a" * 64, "files": 1, "files_sha256": "b" * 64}
EVALUATION = {"function": "m.py:top1", "value": 0.9, "pytorch": 0.95, "floor": 0.9, "inputs_sha256": "c" * 64, "files": 1}


@pytest.fixture(scope="module")
def manifest(small_bundle: Path) -> Manifest:
    """Return the content of a bundle's bundle.json."""
    return Manifest.read(small_bundle / "bundle.json")


def document(manifest: Manifest) -> dict[str, Any]:
    """Return the bill of materials after checking it against CycloneDX's schema."""
    content = bom.render(manifest)
    assert content == bom.render(manifest)
    assert VALIDATOR.validate_str(content.decode()) is None
    parsed: dict[str, Any] = json.loads(content)
    return parsed


def changed(manifest: Manifest, **facts: object) -> Manifest:
    """Return a manifest whose version has other facts."""
    record: Record = {**manifest.models["mlp"][1], **facts}
    return replace(manifest, models={"mlp": {1: {key: value for key, value in record.items() if value is not None}}})


def model_of(found: dict[str, Any]) -> dict[str, Any]:
    """Return the component of the model."""
    return next(each for each in found["components"] if each["type"] == "machine-learning-model")


def facts_of(component: dict[str, Any]) -> dict[str, str]:
    """Return the properties of a component."""
    return {each["name"].removeprefix("tfbundle:"): each["value"] for each in component["properties"]}


def test_files_have_the_hashes_of_bundle_json(manifest: Manifest) -> None:
    hashes = dict(bom.hashes_of(document(manifest)))
    assert hashes.pop("bundle.json") == hashlib.sha256(manifest.to_bytes()).hexdigest()
    assert hashes == {path: entry.sha256 for path, entry in manifest.files.items()}


def test_model_card_has_inputs_outputs_and_measurements(manifest: Manifest) -> None:
    card = model_of(document(manifest))["modelCard"]
    assert card["modelParameters"]["inputs"] == [{"format": "x: float32[batch, 4]"}]
    assert card["modelParameters"]["outputs"] == [{"format": "y: float32[batch, 3]"}]
    assert "task" not in card["modelParameters"]
    metrics = card["quantitativeAnalysis"]["performanceMetrics"]
    rows = {(each["type"], each["slice"].split(",")[0]): each["value"] for each in metrics}
    worst = next(row for row in manifest.models["mlp"][1]["parity"]["summary"] if row["runtime"] == "saved_model")
    assert rows["parity with ONNX Runtime: max_abs", "saved_model"] == str(worst["max_abs"])
    assert ("agreement with ONNX Runtime: sqnr_db", "TFLite float32") in rows


def test_model_with_a_classify_signature_has_its_task(manifest: Manifest) -> None:
    signatures = manifest.models["mlp"][1]["signatures"]
    found = document(changed(manifest, signatures={**signatures, "classify": signatures["serving_default"]}))
    assert model_of(found)["modelCard"]["modelParameters"]["task"] == "classification"


def test_packages_of_the_build_are_components_that_the_model_depends_on(manifest: Manifest) -> None:
    found = document(manifest)
    packages = manifest.models["mlp"][1]["build"]["packages"]
    assert {"tfbundle", "tensorflow", "onnx", "numpy"} <= set(packages)
    listed = {each["purl"] for each in found["components"] if each["type"] == "library"}
    assert {url.name: url.version for url in map(PackageURL.from_string, listed)} == packages
    assert set(next(each for each in found["dependencies"] if each["ref"] == "model:mlp@1")["dependsOn"]) == listed


def test_data_have_the_hash_of_their_file_and_of_their_arrays(manifest: Manifest) -> None:
    forms = {"int8": {**manifest.models["mlp"][1]["tflite"]["float32"], "calibration": CALIBRATION, "evaluation": EVALUATION}}
    found = document(changed(manifest, tflite=forms))
    data = {each["name"]: each for each in found["components"] if each["type"] == "data"}
    assert data["cal.npz"]["hashes"] == [{"alg": "SHA-256", "content": "b" * 64}]
    assert facts_of(data["cal.npz"])["arrays_sha256"] == "a" * 64
    assert "hashes" not in data["m.py:top1"]
    assert facts_of(data["m.py:top1"])["arrays_sha256"] == "c" * 64
    card = model_of(found)["modelCard"]
    assert {each["ref"] for each in card["modelParameters"]["datasets"]} == {each["bom-ref"] for each in data.values()}
    metrics = [(m["slice"], m["value"]) for m in card["quantitativeAnalysis"]["performanceMetrics"] if m["type"] == "m.py:top1"]
    assert metrics == [("ONNX Runtime", "0.95"), ("TFLite int8", "0.9")]


def test_data_without_a_recorded_hash_are_named_as_unknown(manifest: Manifest) -> None:
    evaluation = {"metric": "accuracy", "data": "held out", "samples": 3, "results": {"pytorch": [1.0]}}
    found = document(changed(manifest, evaluation=evaluation))
    data = next(each for each in found["components"] if each["type"] == "data")
    assert (data["name"], facts_of(data)["unknown"]) == ("held out", "No hash of the data was recorded.")


def test_version_without_a_record_of_its_build_says_so(manifest: Manifest) -> None:
    found = document(changed(manifest, build=None))
    assert "did not record packages" in facts_of(model_of(found))["unknown"]
    assert not [each for each in found["components"] if each["type"] == "library"]


def test_adopted_version_says_that_its_build_is_unknown(manifest: Manifest) -> None:
    adopted = {"at": "2026-01-01T00:00:00+00:00", "path": "models/mlp/1"}
    assert "adopted" in facts_of(model_of(document(changed(manifest, build=None, adopted=adopted))))["unknown"]


@pytest.mark.parametrize("path", sorted(RELEASES.glob("*.json")), ids=lambda path: path.stem)
def test_bundles_of_earlier_releases_have_a_valid_bill_of_materials(path: Path) -> None:
    assert "did not record packages" in facts_of(model_of(document(Manifest.read(path))))["unknown"]


def test_document_of_another_kind_is_refused() -> None:
    for found in ({}, {"bomFormat": "SPDX"}, {"bomFormat": "CycloneDX"}, {"bomFormat": "CycloneDX", "metadata": 1}):
        with pytest.raises(ValueError, match="it"):
            list(bom.hashes_of(found))

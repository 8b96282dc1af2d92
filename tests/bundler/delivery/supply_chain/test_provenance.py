"""The provenance of a version is SLSA v1, speaks of that version's files alone, and invents nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2

from bundler.bundle.layout import version_of
from bundler.bundle.manifest import Manifest
from bundler.delivery.supply_chain import provenance
from bundler.delivery.supply_chain.provenance import LOCAL, UNRECORDED

CI = {
    "id": "https://github.com/acme/models/.github/workflows/build.yml@refs/heads/main",
    "invocation": "https://github.com/acme/models/actions/runs/7/attempts/1",
    "repository": "https://github.com/acme/models",
    "ref": "refs/heads/main",
    "commit": "d" * 40,
}


@pytest.fixture(scope="module")
def manifest(small_bundle: Path) -> Manifest:
    """Return the content of a bundle's bundle.json."""
    return Manifest.read(small_bundle / "bundle.json")


def statement(manifest: Manifest) -> dict[str, Any]:
    """Return the statement about the version, after in-toto's own classes have parsed its predicate."""
    content = provenance.render(manifest, "mlp", 1)
    assert content == provenance.render(manifest, "mlp", 1)
    found: dict[str, Any] = json.loads(content)
    json_format.ParseDict(found["predicate"], provenance_pb2.Provenance())
    return found


def changed(manifest: Manifest, **facts: object) -> Manifest:
    """Return a manifest whose version has other facts."""
    record = {**manifest.models["mlp"][1], **facts}
    return replace(manifest, models={"mlp": {1: {key: value for key, value in record.items() if value is not None}}})


def test_subjects_are_the_files_of_the_version(manifest: Manifest) -> None:
    subjects = provenance.subjects_of(statement(manifest))
    assert subjects == {path: entry.sha256 for path, entry in manifest.files.items() if version_of(path)}
    assert "models/mlp/1/saved_model.pb" in subjects


def test_statement_has_parameters_source_packages_and_times(manifest: Manifest) -> None:
    record = manifest.models["mlp"][1]
    predicate = statement(manifest)["predicate"]
    definition, details = predicate["buildDefinition"], predicate["runDetails"]
    assert definition["externalParameters"] == {"model": "mlp", "version": "1", "parameters": record["build"]["parameters"]}
    assert definition["internalParameters"]["opset"] == record["opset"]
    dependencies = definition["resolvedDependencies"]
    digest = {"sha256": record["source"]["sha256"]}
    assert {"name": record["source"]["file"], "digest": digest, "annotations": {"use": "source"}} in dependencies
    assert {"uri": f"pkg:pypi/numpy@{record['build']['packages']['numpy']}"} in dependencies
    assert details["metadata"]["finishedOn"] == record["created"].replace("+00:00", "Z")
    assert details["metadata"]["startedOn"] <= details["metadata"]["finishedOn"]


def test_build_outside_a_ci_has_the_local_builder(manifest: Manifest) -> None:
    build = {key: value for key, value in manifest.models["mlp"][1]["build"].items() if key != "builder"}
    assert statement(changed(manifest, build=build))["predicate"]["runDetails"]["builder"]["id"] == LOCAL


def test_build_in_a_ci_names_builder_run_and_commit(manifest: Manifest) -> None:
    predicate = statement(changed(manifest, build={**manifest.models["mlp"][1]["build"], "builder": CI}))["predicate"]
    assert predicate["runDetails"]["builder"]["id"] == CI["id"]
    assert predicate["runDetails"]["metadata"]["invocationId"] == CI["invocation"]
    git = {"uri": "git+https://github.com/acme/models@refs/heads/main", "digest": {"gitCommit": "d" * 40}}
    assert git in predicate["buildDefinition"]["resolvedDependencies"]


def test_version_without_a_record_of_its_build_has_no_invented_facts(manifest: Manifest) -> None:
    predicate = statement(changed(manifest, build=None))["predicate"]
    assert predicate["runDetails"]["builder"] == {"id": UNRECORDED}
    assert set(predicate["runDetails"]["metadata"]) == {"finishedOn"}
    assert "parameters" not in predicate["buildDefinition"]["externalParameters"]
    assert "did not record" in predicate["buildDefinition"]["internalParameters"]["unknown"]


def test_adopted_version_has_no_time_of_its_build(manifest: Manifest) -> None:
    adopted = {"at": "2026-01-01T00:00:00+00:00", "path": "models/mlp/1"}
    predicate = statement(changed(manifest, build=None, adopted=adopted))["predicate"]
    assert predicate["runDetails"]["metadata"] == {}


def test_document_of_another_kind_is_refused() -> None:
    empty = {"_type": "https://in-toto.io/Statement/v1", "predicateType": provenance.PREDICATE_TYPE}
    for found in ({}, {"_type": "x", "predicateType": "y"}, empty):
        with pytest.raises(ValueError, match="it"):
            provenance.subjects_of(found)

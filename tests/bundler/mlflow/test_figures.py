"""Measurements of a version as MLflow's metrics and metadata."""

from __future__ import annotations

import json
from pathlib import Path

from bundler.bundle.manifest import Manifest
from bundler.mlflow.choice import Choice
from bundler.mlflow.figures import metadata, metrics
from bundler.validation.bundle import Bundle
from tests.bundler.mlflow.conftest import write_manifest


def test_metrics_are_the_figures_of_bundle_json(shared: Bundle) -> None:
    record = shared.record("mlp", 2)
    found = metrics(shared, Choice.of(shared, {}))
    rows = [row for row in record["parity"]["summary"] if row["runtime"] == "saved_model"]
    assert found["saved_model/max_rel"] == max(row["max_rel"] for row in rows) < 1e-4
    assert found["tflite-float32/latency_ms"] == record["tflite"]["float32"]["latency_ms"]["1"] > 0
    assert found["tflite-float32/sqnr_db"] > 60
    assert found["saved_model/size_bytes"] == shared.size_bytes("mlp", 2)
    assert found["fast_path/size_bytes"] > found["tflite-float32/size_bytes"] > 0
    assert found["build/seconds"] == sum(record["stages"].values())


def test_metric_has_a_name_and_a_value_that_mlflow_takes(small: Path) -> None:
    manifest = Manifest.read(small / "bundle.json")
    record = manifest.models["mlp"][1]
    row = {**record["parity"]["summary"][0], "runtime": "a:b", "max_rel": "inf", "max_abs": 0.5}
    evaluation = {"metric": "top1", "data": "test", "samples": 9, "results": {"SavedModel": 0.75}}
    changed = {**record, "parity": {**record["parity"], "summary": [row]}, "evaluation": evaluation}
    write_manifest(small, manifest.with_version("mlp", 1, changed))
    found = metrics(Bundle.open(small), Choice("mlp", 1))
    assert found["a_b/max_abs"] == 0.5 and "a_b/max_rel" not in found
    assert found["SavedModel/evaluation"] == 0.75


def test_metadata_tells_what_is_inside_without_a_download(shared: Bundle) -> None:
    facts = metadata(shared, Choice.of(shared, {"version": "stable"}))["tfbundle"]
    assert (facts["model"], facts["version"], facts["form"]) == ("mlp", "1", "saved_model")
    assert facts["models"] == {"mlp": [1, 2]} and facts["labels"] == {"mlp": {"stable": 1}}
    assert facts["parity"]["passed"] and facts["parity"]["max_rel"] <= facts["parity"]["tolerance"]
    assert set(facts["forms"]) == {"saved_model", "float32"}
    assert json.loads(json.dumps(facts)) == facts
    assert str(shared.path) not in json.dumps(facts)

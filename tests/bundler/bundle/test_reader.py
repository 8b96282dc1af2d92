"""Bundles read from disk: models, versions, signatures, and what does not exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler import Bundle
from bundler.bundle.layout import BundleLayout
from bundler.errors import VerifyError


def test_a_bundle_lists_models_versions_signatures_and_measurements(small_bundle: Path) -> None:
    bundle = Bundle.open(str(small_bundle))
    assert (bundle.name, bundle.models(), bundle.versions("mlp")) == ("small", ["mlp"], [1])
    signature = bundle.signatures("mlp")["serving_default"]
    assert [str(spec) for spec in signature.inputs] == ["x=float32[batch,4]"]
    assert [str(spec) for spec in signature.outputs] == ["y=float32[batch,3]"]
    record = bundle.record("mlp")
    assert record["opset"] == 18
    assert record["parity"]["passed"] is True
    assert (
        record["tflite"]["float32"]["size_bytes"]
        == bundle.manifest.files["tflite/mlp/1/mlp-float32.tflite"].size
    )
    assert set(record["stages"]) == {"load", "export", "convert", "saved_model", "tflite", "parity"}
    facts = bundle.inspect()
    assert facts["models"]["mlp"]["latest"] == 1
    assert facts["files"] == len(bundle.manifest.files)
    assert "mlp [1]" in repr(bundle)


def test_an_unknown_model_or_version_is_refused(small_bundle: Path) -> None:
    bundle = Bundle.open(small_bundle)
    with pytest.raises(VerifyError, match="no model 'other'"):
        bundle.versions("other")
    with pytest.raises(VerifyError, match="no version 9"):
        bundle.record("mlp", 9)


def test_a_built_version_has_all_its_parts(small_bundle: Path) -> None:
    layout = BundleLayout(small_bundle)
    for path in (
        layout.version_dir("mlp", 1) / "saved_model.pb",
        layout.warmup("mlp", 1),
        layout.onnx_file("mlp", 1),
        layout.golden_file("mlp", 1),
        layout.tflite_file("mlp", 1, "float32"),
        layout.serving_dir / "models.config",
        layout.k8s_dir / "base" / "kustomization.yaml",
        layout.docker_dir / "Dockerfile",
        layout.smoke_dir / "smoke_test.py",
        layout.report,
    ):
        assert path.is_file(), path


def test_a_folder_without_bundle_json_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(VerifyError, match="is not a bundle"):
            Bundle.open(path)

"""Facts of model files, and what is rejected."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.errors import UsageError, VerifyError
from bundler.operations.inspect import inspect_model, kind_of


def test_the_kind_follows_from_the_content_of_a_folder_or_the_name_of_a_file(small_bundle: Path) -> None:
    assert kind_of(small_bundle) == "bundle"
    assert kind_of(small_bundle / "models" / "mlp" / "1") == "saved_model"
    assert kind_of(small_bundle / "onnx" / "mlp" / "1.onnx") == "onnx"
    assert kind_of(small_bundle / "tflite" / "mlp" / "1" / "mlp-float32.tflite") == "tflite"


def test_paths_that_are_no_models_are_rejected(small_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing does not exist"):
        kind_of(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"is not a bundle, a SavedModel, an \.onnx file or a \.tflite file"):
        kind_of(tmp_path)
    with pytest.raises(UsageError, match="is a bundle, not a model"):
        inspect_model(small_bundle)


def test_a_damaged_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff")
    with pytest.raises(VerifyError, match="is not a SavedModel"):
        inspect_model(tmp_path)


def test_facts_of_a_saved_model(small_bundle: Path) -> None:
    folder = small_bundle / "models" / "mlp" / "1"
    facts = inspect_model(folder)
    assert (facts.kind, facts.transposes, facts.ops["MatMul"]) == ("saved_model", {"serving_default": 0}, 2)
    assert facts.size_bytes == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert "metadata" not in facts.to_json()

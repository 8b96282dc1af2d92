"""Getting a bundle back from MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import bundler.mlflow
from bundler.errors import VerifyError
from bundler.validation.bundle import Bundle


@pytest.fixture
def saved(grown: Bundle, mlflow: Any, tmp_path: Path) -> Path:
    bundler.mlflow.save_model(grown, tmp_path / "saved", input_example=False)
    return tmp_path / "saved"


def test_folder_can_be_moved(saved: Path, grown: Bundle, tmp_path: Path) -> None:
    moved = saved.rename(tmp_path / "moved elsewhere")
    bundle = bundler.mlflow.load_model(str(moved))
    assert isinstance(bundle, Bundle) and bundle.path.is_relative_to(moved)
    assert bundle.manifest == grown.manifest and bundle.name == grown.name


def test_download_goes_to_the_folder_that_is_named(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    bundle = bundler.mlflow.load_model(saved.as_uri(), tmp_path / "here")
    assert bundle.path.is_relative_to(tmp_path / "here") and bundle.versions("mlp") == [1, 2]


def test_changed_byte_is_refused(saved: Path) -> None:
    file = saved / "data" / "small" / "models" / "mlp" / "2" / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(VerifyError, match=r"models/mlp/2/saved_model\.pb: changed") as raised:
        bundler.mlflow.load_model(str(saved))
    assert raised.value.code == "TFB9402"


def test_model_that_does_not_exist_is_mlflows_error(mlflow: Any) -> None:
    with pytest.raises(mlflow.exceptions.MlflowException, match="nothing"):
        bundler.mlflow.load_model("models:/nothing/1")

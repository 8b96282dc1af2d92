"""Logging a bundle, and saving it: what is in the folder, in the run and in the registry."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bundler.mlflow
from bundler.errors import UsageError, VerifyError
from bundler.mlflow import save
from bundler.validation.bundle import Bundle
from serving import extras
from serving.errors import MissingExtraError


def description(folder: Path) -> Any:
    from mlflow.models import Model

    return Model.load(str(folder))


def test_folder_has_the_bundle_and_what_mlflow_needs(grown: Bundle, mlflow: Any, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    bundler.mlflow.save_model(grown, folder, version="stable", metadata={"team": "vision"})
    names = {path.name for path in folder.iterdir()}
    assert {"MLmodel", "data", "requirements.txt", "conda.yaml", "python_env.yaml", "input_example.json"} <= names
    model = description(folder)
    assert model.flavors["python_function"]["loader_module"] == "bundler.mlflow"
    assert model.flavors["python_function"]["data"] == model.flavors["tfbundle"]["data"] == "data/small"
    assert model.flavors["python_function"]["config"]["version"] == "1"
    assert model.metadata["team"] == "vision" and model.metadata["tfbundle"]["version"] == "1"
    data = [path for path in (folder / "data").rglob("*") if path.is_file()]
    assert model.model_size_bytes == sum(path.stat().st_size for path in data)
    requirements = (folder / "requirements.txt").read_text().split()
    assert requirements[0].startswith("mlflow==") and requirements[1].startswith("tfbundle[mlflow,serve]==")


def test_nothing_in_the_folder_names_a_place_on_this_machine(grown: Bundle, mlflow: Any, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    bundler.mlflow.save_model(grown, folder)
    for file in (path for path in folder.rglob("*") if path.is_file()):
        assert str(tmp_path).encode() not in file.read_bytes(), file


def test_log_model_writes_metrics_and_registers(
    grown: Bundle, mlflow: Any, caplog: pytest.LogCaptureFixture
) -> None:
    info = bundler.mlflow.log_model(grown.path, registered_model_name="digits", tags={"stage": "test"}, params={"epochs": 3})
    assert not [record for record in caplog.records if record.levelname == "WARNING"], "MLflow predicts from the input example"
    assert mlflow.active_run() is None
    run = mlflow.get_run(info.run_id)
    assert run.info.status == "FINISHED"
    assert 0 <= run.data.metrics["saved_model/max_rel"] < 1e-4
    assert run.data.metrics["tflite-float32/latency_ms"] > 0
    logged = mlflow.get_logged_model(info.model_id)
    assert (logged.name, logged.params["epochs"], logged.tags["stage"]) == ("mlp", "3", "test")
    assert {metric.key for metric in logged.metrics} == set(run.data.metrics)
    assert info.registered_model_version == 1
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri="models:/digits/1"))
    name = "models/mlp/1/saved_model.pb"
    assert not (folder / "data" / "small" / name).samefile(grown.path / name)
    assert bundler.mlflow.load_model("models:/digits/1").manifest == grown.manifest


def test_active_run_gets_the_model_or_nothing_but_it(grown: Bundle, mlflow: Any) -> None:
    with mlflow.start_run() as run:
        info = bundler.mlflow.log_model(grown, "first", input_example=False, metrics=False)
        assert mlflow.active_run() is not None
    assert info.run_id == run.info.run_id
    assert mlflow.get_run(run.info.run_id).data.metrics == {}
    without = bundler.mlflow.log_model(grown, "second", input_example=False, metrics=False)
    assert without.run_id is None
    other = bundler.mlflow.log_model(grown, "third", input_example=False, run_id=run.info.run_id)
    assert other.run_id == run.info.run_id and mlflow.get_run(run.info.run_id).data.metrics


def test_signature_and_example_can_be_given_or_left_out(grown: Bundle, mlflow: Any, tmp_path: Path) -> None:
    bundler.mlflow.save_model(grown, tmp_path / "without", signature=False, input_example=False)
    plain = description(tmp_path / "without")
    assert plain.signature is None and plain.saved_input_example_info is None
    bundler.mlflow.save_model(grown, tmp_path / "default", input_example=False)
    own = description(tmp_path / "default").signature
    assert own.inputs.input_names() == ["x"]
    bundler.mlflow.save_model(grown, tmp_path / "given", signature=own, input_example={"x": np.float32([[1, 2, 3, 4]])})
    given = description(tmp_path / "given")
    assert given.signature == own
    assert json.loads((tmp_path / "given" / "input_example.json").read_text()) == {"x": [[1.0, 2, 3, 4]]}


def test_packages_can_be_added_or_replaced(grown: Bundle, mlflow: Any, tmp_path: Path) -> None:
    def requirements(name: str, **options: Any) -> list[str]:
        bundler.mlflow.save_model(grown, tmp_path / name, input_example=False, **options)
        return (tmp_path / name / "requirements.txt").read_text().split()

    assert requirements("more", extra_pip_requirements=["pillow"])[-1] == "pillow"
    (tmp_path / "more.txt").write_text("pillow==11.0.0\n")
    assert requirements("file", extra_pip_requirements=str(tmp_path / "more.txt"))[-1] == "pillow==11.0.0"
    other = requirements("other", pip_requirements=["tfbundle[serve]"])
    assert other[1:] == ["tfbundle[serve]"]
    conda = {"name": "e", "channels": ["conda-forge"], "dependencies": ["python=3.11", "pip", {"pip": ["tfbundle"]}]}
    assert "tfbundle" in requirements("conda", conda_env=conda)


def test_what_cannot_be_logged_leaves_nothing(grown: Bundle, mlflow: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no form named 'int8'"):
        bundler.mlflow.log_model(grown, form="int8")
    grown.layout.golden_file("mlp", 1).unlink()
    with pytest.raises(VerifyError, match=re.escape("golden/mlp/1.npz: missing")):
        bundler.mlflow.log_model(grown, registered_model_name="digits")
    with pytest.raises(VerifyError, match="is not logged"):
        bundler.mlflow.save_model(grown, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    assert mlflow.search_logged_models(output_format="list") == [] and mlflow.search_registered_models() == []
    with pytest.raises(VerifyError, match="is not a bundle"):
        bundler.mlflow.log_model(tmp_path)


def test_failure_during_the_copy_leaves_no_folder(
    grown: Bundle, mlflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(save, "store", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bundler.mlflow.save_model(grown, tmp_path / "saved", input_example=False)
    assert not (tmp_path / "saved").exists()


def test_missing_packages_are_named_with_the_extra(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda module: module != "mlflow")
    for call in (
        lambda: bundler.mlflow.log_model(small),
        lambda: bundler.mlflow.save_model(small, tmp_path / "saved"),
        lambda: bundler.mlflow.load_model("models:/digits/1"),
    ):
        with pytest.raises(MissingExtraError, match="The MLflow flavour needs the package 'mlflow-skinny'") as raised:
            call()
        assert raised.value.fix == "pip install 'tfbundle[mlflow]'"

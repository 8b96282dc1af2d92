"""A bundle of two versions with a label and a fast path, made without a build, and MLflow with a store of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import Manifest, files_under, hash_files
from bundler.tflite.fast_path_worker import with_signature
from bundler.validation.bundle import Bundle
from serving.protocol.messages import message
from serving.protocol.tensors import dtype_number
from tests.requirements import require_package

INSTALL = "pip install -e '.[mlflow]'"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a bundle.json."""
    BundleLayout(folder).manifest.write_bytes(manifest.to_bytes())


@pytest.fixture
def small(small_bundle: Path, tmp_path: Path) -> Path:
    """Return a copy of the small bundle, which may be changed."""
    return Path(shutil.copytree(small_bundle, tmp_path / "small"))


@pytest.fixture(scope="session")
def shared(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a bundle, not to be changed, with versions of `mlp`: 1, labelled `stable`, and 2, which has a model.tflite."""
    small = Path(shutil.copytree(small_bundle, tmp_path_factory.mktemp("shared") / "small"))
    layout = BundleLayout(small)
    manifest = Manifest.read(layout.manifest)
    for folder in ("models", "tflite"):
        shutil.copytree(small / folder / "mlp" / "1", small / folder / "mlp" / "2")
    shutil.copy(layout.golden_file("mlp", 1), layout.golden_file("mlp", 2))
    definition = message("tensorflow.SignatureDef")(method_name="tensorflow/serving/predict")
    definition.inputs["x"].dtype = definition.outputs["y"].dtype = dtype_number("float32")
    content = with_signature(layout.tflite_file("mlp", 1, "float32").read_bytes(), definition)
    layout.fast_path_file("mlp", 2).write_bytes(content)
    serving = {**manifest.spec["serving"], "labels": {"mlp": {"stable": 1}}}
    more = manifest.with_version("mlp", 2, manifest.models["mlp"][1])
    new = [path for path in files_under(small) if "2" in path.parts or path.name == "2.npz"]
    files = {**manifest.files, **hash_files(small, new)}
    write_manifest(small, replace(more, spec={**manifest.spec, "serving": serving}, files=files))
    return Bundle.open(small)


@pytest.fixture
def grown(shared: Bundle, tmp_path: Path) -> Bundle:
    """Return a copy of the bundle `shared`, which may be changed."""
    return Bundle.open(shutil.copytree(shared.path, tmp_path / "small"))


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return the package mlflow, with a store of files: mlflow-skinny alone has no other."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("GIT_PYTHON_REFRESH", "quiet")
    monkeypatch.chdir(tmp_path)
    require_package("pandas", INSTALL)
    package = require_package("mlflow", INSTALL)
    require_package("mlflow.pyfunc", INSTALL)
    before = package.get_tracking_uri()
    package.set_tracking_uri((tmp_path / "store").as_uri())
    yield package
    if package.active_run() is not None:
        package.end_run()
    package.set_tracking_uri(before)

"""Getting a bundle back from MLflow."""

from __future__ import annotations

from pathlib import Path

from bundler.mlflow.stored import StoredBundle
from bundler.process.extras import require
from bundler.validation.bundle import Bundle


def load_model(model_uri: str, dst_path: str | Path | None = None) -> Bundle:
    """Return the bundle of a logged model. All of its files are compared with what was logged; no model is run.

    Args:
        model_uri: where it is, in any form that MLflow knows: `models:/NAME/VERSION`, `models:/NAME@ALIAS`, `runs:/ID/NAME`, or
            a folder.
        dst_path: a folder for the download, which has to exist; default: a temporary one.

    Returns:
        The bundle, in the folder `data/NAME` of the download.

    Raises:
        MissingExtraError: the packages of `tfbundle[mlflow]` are not installed.
        VerifyError: the model has no bundle, was logged by a later tfbundle, or a file is not as it was logged.
        mlflow.exceptions.MlflowException: there is no such model, or the server cannot be reached or refuses.
    """
    require("mlflow", "The MLflow flavour")
    from mlflow.artifacts import download_artifacts

    folder = download_artifacts(artifact_uri=str(model_uri), dst_path=str(dst_path) if dst_path is not None else None)
    return StoredBundle.read(Path(folder), str(model_uri)).verified()

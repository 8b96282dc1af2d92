"""The flavour of MLflow that logs a bundle, gives it back, and answers as it does.

    import bundler
    import bundler.mlflow

    bundle = bundler.build("model.py:make", out="dist/digits", tflite=("float16",))
    bundler.mlflow.log_model(bundle, registered_model_name="digits")

    bundler.mlflow.load_model("models:/digits/1")                    # the Bundle
    mlflow.pyfunc.load_model("models:/digits/1").predict({"x": x})   # its answers; so does `mlflow models serve`

A model that MLflow stores has the whole bundle below `data/`, byte for byte, so that it can be verified, served and deployed from
there. MLflow finds `_load_pyfunc` here by the name of this module, which is written into each logged model; the name must stay.
Needs `pip install 'tfbundle[mlflow]'`, and predictions also the packages of `tfbundle[serve]`.
"""

from __future__ import annotations

from bundler.mlflow.load import load_model
from bundler.mlflow.requirements import get_default_pip_requirements
from bundler.mlflow.save import LogOptions, SaveOptions, log_model, save_model
from bundler.mlflow.scorer import load_scorer as _load_pyfunc  # noqa: F401

__all__ = ["LogOptions", "SaveOptions", "get_default_pip_requirements", "load_model", "log_model", "save_model"]

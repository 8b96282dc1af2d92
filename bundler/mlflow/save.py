"""Saving a bundle as an MLflow model, and logging it to a tracking server with its measurements."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from bundler.mlflow import figures, schema
from bundler.mlflow.choice import Choice
from bundler.mlflow.requirements import pip_requirements
from bundler.mlflow.stored import FLAVOR, MLMODEL, check_loggable, entry_of, store
from bundler.process.extras import require
from bundler.validation.bundle import Bundle

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature
    from mlflow.models.model import ModelInfo
    from typing_extensions import Unpack

_LOADER = "bundler.mlflow"


class SaveOptions(TypedDict, total=False):
    """The keywords of `save_model` and `log_model`; all can be left out.

    Attributes:
        model: name of the model that answers; needed if the bundle has several.
        version: number or label of the version that answers; default: the latest.
        signature_name: name of the signature that it answers by; default: serving_default.
        form: what answers: `saved_model` (default), `fast_path`, or the name of a TFLite variant.
        allow_unsafe_ops: whether models may be logged that have operators which reach out of the graph. Whoever loads one has to
            allow them, too: `model_config={"allow_unsafe_ops": True}`.
        signature: MLflow's signature; default: that of `signature_name`. False records none, and MLflow does not check inputs.
        input_example: an example of inputs; default: the smallest golden call, if it has at most 100 000 elements. False
            records none.
        pip_requirements: the packages that predictions need, in the place of those of `bundler.mlflow.requirements`.
        extra_pip_requirements: packages in addition to them.
        conda_env: a conda environment in their place.
        metadata: entries for the metadata in MLmodel, besides `tfbundle`.
    """

    model: str
    version: int | str
    signature_name: str
    form: str
    allow_unsafe_ops: bool
    signature: ModelSignature | Literal[False] | None
    input_example: Any
    pip_requirements: list[str] | str | None
    extra_pip_requirements: list[str] | str | None
    conda_env: dict[str, Any] | str | None
    metadata: dict[str, Any] | None


class LogOptions(SaveOptions, total=False):
    """The keywords of `log_model`: those of `save_model`, and those with which MLflow describes a logged model.

    Attributes:
        await_registration_for: seconds to wait for the registered version.
        model_type, params, tags, step, model_id: as in mlflow.pyfunc.log_model.
    """

    await_registration_for: int
    model_type: str
    params: dict[str, Any]
    tags: dict[str, Any]
    step: int
    model_id: str


def save_model(
    bundle: Bundle | str | Path, path: str | Path, mlflow_model: Model | None = None, **options: Unpack[SaveOptions]
) -> None:
    """Save a bundle as an MLflow model on this machine.

    Args:
        bundle: the bundle, or its folder.
        path: the folder to make.
        mlflow_model: MLflow's description of the model, which is completed.
        options: see `SaveOptions`.

    Raises:
        MissingExtraError: the packages of `tfbundle[mlflow]` are not installed.
        UsageError: the bundle has several models and none is chosen, or no such label, signature or form.
        VerifyError: the folder is not a bundle, a file differs from what was built, or there is no such model or version.
        PublishError: the folder cannot be written, or the disk is full.
        mlflow.exceptions.MlflowException: the folder exists, or an option of MLflow is wrong.
    """
    require("mlflow", "The MLflow flavour")
    opened = _opened(bundle)
    _write(opened, Path(path), mlflow_model, dict(options), link=False)


def log_model(
    bundle: Bundle | str | Path,
    name: str | None = None,
    *,
    registered_model_name: str | None = None,
    run_id: str | None = None,
    metrics: bool = True,
    **options: Unpack[LogOptions],
) -> ModelInfo:
    """Log a bundle to MLflow, with its measurements as metrics of the run.

    Args:
        bundle: the bundle, or its folder.
        name: name of the logged model; default: that of the model in the bundle.
        registered_model_name: register it as a new version of this model.
        run_id: the run; default: the active one. Without one, and with `metrics`, a run is started and ended.
        metrics: whether to log parity, sizes, latencies and accuracies as metrics of the run and of the logged model.
        options: see `LogOptions`.

    Returns:
        MLflow's description of the logged model, with `model_uri` and `registered_model_version`.

    Raises:
        MissingExtraError: the packages of `tfbundle[mlflow]` are not installed.
        UsageError: the bundle has several models and none is chosen, or no such label, signature or form.
        VerifyError: the folder is not a bundle, a file differs from what was built, or there is no such model or version.
        PublishError: the disk for temporary files is full.
        mlflow.exceptions.MlflowException: the tracking server cannot be reached or refuses.
    """
    require("mlflow", "The MLflow flavour")
    import mlflow
    from mlflow.models import Model

    opened = _opened(bundle)
    choice = Choice.of(opened, options)
    check_loggable(opened, allow_unsafe_ops=options.get("allow_unsafe_ops", False))
    flavor = SimpleNamespace(__name__=_LOADER, save_model=partial(_save_linked, opened))
    with _run(run_id, metrics):
        info: ModelInfo = Model.log(
            artifact_path=None,
            name=name or choice.model.replace(".", "_"),  # MLflow allows no full stop in it
            flavor=flavor,
            registered_model_name=registered_model_name,
            run_id=run_id,
            **options,
        )
        if metrics:
            mlflow.log_metrics(figures.metrics(opened, choice), run_id=run_id, model_id=info.model_id)
    return info


def _opened(bundle: Bundle | str | Path) -> Bundle:
    return bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)


def _run(run_id: str | None, wanted: bool) -> AbstractContextManager[Any]:
    """Return a context with a run, for metrics: a run of its own if there is none."""
    import mlflow

    if not wanted or run_id is not None or mlflow.active_run() is not None:
        return nullcontext()
    run: AbstractContextManager[Any] = mlflow.start_run()
    return run


def _save_linked(bundle: Bundle, path: str, mlflow_model: Model, **options: Any) -> None:
    """Save a bundle in the temporary folder that Model.log uploads, which takes no space on the same disk."""
    _write(bundle, Path(path), mlflow_model, options, link=True)


def _write(bundle: Bundle, path: Path, mlflow_model: Model | None, options: Mapping[str, Any], *, link: bool) -> None:
    import mlflow.pyfunc
    from mlflow.models import Model

    choice = Choice.of(bundle, options)
    if not link:  # log_model has checked it, before the server knew of the model
        check_loggable(bundle, allow_unsafe_ops=bool(options.get("allow_unsafe_ops", False)))
    model = Model() if mlflow_model is None else mlflow_model
    given = {**(model.metadata or {}), **(options.get("metadata") or {})}
    model.metadata = {**figures.metadata(bundle, choice), **given}
    entry = entry_of(bundle)
    model.add_flavor(FLAVOR, **entry)
    mlflow.pyfunc.save_model(
        str(path),
        loader_module=_LOADER,
        mlflow_model=model,
        model_config={**choice.to_json(), "allow_unsafe_ops": False},  # whoever loads it decides that
        **_described(bundle, choice, model, options),
        **_environment(bundle, choice, options),
    )
    try:
        size = store(bundle, path / entry["data"], link=link)
        model.flavors[mlflow.pyfunc.FLAVOR_NAME]["data"] = entry["data"]
        model.model_size_bytes = size
        model.save(str(path / MLMODEL))
    except BaseException:
        shutil.rmtree(path)
        raise


def _described(bundle: Bundle, choice: Choice, model: Model, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return MLflow's signature and input example, as keywords; without an example, the signature goes to the model itself."""
    signature, example = options.get("signature"), options.get("input_example")
    if signature is None:
        signature = schema.model_signature(bundle, choice)
    if example is None and options.get("signature") is None:
        example = schema.input_example(bundle, choice)
    if example is None or example is False:  # save_model would warn that there is none
        if signature:
            model.signature = signature
        return {}
    return {"signature": signature or None, "input_example": example}


def _environment(bundle: Bundle, choice: Choice, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords for the packages: those that were given, or ours."""
    extra = options.get("extra_pip_requirements")
    given = {key: options[key] for key in ("conda_env", "pip_requirements") if options.get(key) is not None}
    if given:
        return {**given, **({} if extra is None else {"extra_pip_requirements": extra})}
    more = [f"-r {extra}"] if isinstance(extra, str) else list(extra or ())
    return {"pip_requirements": [*pip_requirements(bundle, choice), *more]}

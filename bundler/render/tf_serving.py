"""serving/: the config files of tensorflow_model_server and the flags that belong to them.

The paths in the files are those of the container (`/models`, `/etc/tf-serving`), so that a bundle can be
moved; the README beside them says how to serve from anywhere else.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeVar

from bundler.bundle.layout import BundleLayout
from bundler.errors import SpecError
from bundler.render import RenderContext, RenderedModel
from bundler.render.files import render_template, write_files
from bundler.render.texts import milliseconds_text, size_text
from serving.config.batching import BatchingParameters
from serving.config.model_server import ModelServerConfig, ServedModel
from serving.config.monitoring import MonitoringConfig
from serving.config.version_policy import Latest, Specific, VersionPolicy
from serving.errors import ConfigError

MODELS_DIR = "/models"
"""Folder of the models in the container, the one that the image tensorflow/serving has."""

CONFIG_DIR = "/etc/tf-serving"
"""Folder of the config files in the container."""

MODELS_CONFIG = "models.config"
BATCHING_CONFIG = "batching.config"
MONITORING_CONFIG = "monitoring.config"

Config = TypeVar("Config", ModelServerConfig, BatchingParameters, MonitoringConfig)


def render(context: RenderContext, folder: Path) -> list[Path]:
    """Write serving/: the config files in use and README.md.

    Raises:
        SpecError: the settings ask for a model, a version or a label that there is not.
    """
    files = config_files(context)
    files["README.md"] = _readme(context)
    owned = (MODELS_CONFIG, BATCHING_CONFIG, MONITORING_CONFIG)
    return write_files(BundleLayout(folder).serving_dir, files, owned=owned)


def config_files(context: RenderContext, models_dir: str = MODELS_DIR) -> dict[str, str]:
    """Name -> text of each config file that the flags of `server_flags` name.

    Args:
        models_dir: absolute path of the models where the server runs.
    """
    files = {MODELS_CONFIG: _proven(server_config(context, models_dir))}
    if context.spec.serving.batching:
        files[BATCHING_CONFIG] = _proven(batching_parameters(context))
    if context.spec.serving.monitoring:
        files[MONITORING_CONFIG] = _proven(MonitoringConfig(path=context.spec.serving.monitoring_path))
    return files


def server_flags(context: RenderContext, config_dir: str = CONFIG_DIR) -> tuple[str, ...]:
    """Flags of tensorflow_model_server (model_servers/main.cc).

    REST is off unless `--rest_api_port` is given. A batching file without `--enable_batching` is a start-up
    error. The profiler is a service without authentication, on unless told.
    `--enable_serialization_as_tensor_content` breaks REST replies and is never set;
    `--enable_grpc_healthcheck_service` says SERVING whatever the models' state, so nothing relies on it.
    """
    serving = context.spec.serving
    flags = [
        f"--port={serving.grpc_port}",
        f"--rest_api_port={serving.rest_port}",
        f"--model_config_file={config_dir}/{MODELS_CONFIG}",
    ]
    if serving.monitoring:
        flags.append(f"--monitoring_config_file={config_dir}/{MONITORING_CONFIG}")
    if serving.batching:
        flags += ["--enable_batching=true", f"--batching_parameters_file={config_dir}/{BATCHING_CONFIG}"]
    if context.spec.prefers_tflite:
        # By default there is an interpreter a core of the machine, each with the weights, however many cores a pod may use.
        flags += ["--prefer_tflite_model=true", f"--num_tflite_pools={tflite_pools(context)}"]
    if has_labels(context):
        # A cold server reads the labels before it has loaded anything, and would refuse to start.
        flags.append("--allow_version_labels_for_unavailable_models=true")
    return (*flags, "--enable_profiler=false")


def tflite_pools(context: RenderContext) -> int:
    """Interpreters a model.tflite: one for each core that a pod asks for, and two at least, so that calls overlap."""
    text = context.spec.kubernetes.cpu
    cores = float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)
    return max(2, math.ceil(cores))


def server_config(context: RenderContext, models_dir: str = MODELS_DIR) -> ModelServerConfig:
    """models.config: what is served of each model.

    Raises:
        SpecError: the settings ask for a model, a version or a label that there is not.
    """
    for name in (*context.spec.serving.labels, *context.spec.serving.versions):
        context.model(name)
    try:
        config = ModelServerConfig(tuple(_served(context, model, models_dir) for model in context.models))
        config.check_labels({model.name: model.versions for model in context.models})
    except ConfigError as exc:
        raise SpecError(exc.what, where="'serving' in bundle.yaml", fix=exc.fix) from exc
    return config


def batching_parameters(context: RenderContext) -> BatchingParameters:
    """batching.config, for all models.

    Raises:
        SpecError: a warm-up record has more rows than a batch: the server would not load its version.
    """
    serving = context.spec.serving
    for model in context.models:
        if model.largest_batch > serving.max_batch_size:
            raise SpecError(
                f"serving.max_batch_size is {serving.max_batch_size}, and the warm-up of {model.name!r} has a request of "
                f"{model.largest_batch} rows: TensorFlow Serving refuses it and does not load the version.",
                where="'serving' in bundle.yaml",
                fix=f"max_batch_size: {model.largest_batch} or more, or build the model again with these settings in "
                "bundle.yaml: its warm-up then keeps to them",
            )
    return BatchingParameters(
        max_batch_size=serving.max_batch_size,
        batch_timeout_micros=serving.batch_timeout_micros,
        max_enqueued_batches=serving.max_enqueued_batches,
        num_batch_threads=serving.num_batch_threads,
        allowed_batch_sizes=serving.allowed_batch_sizes,
    )


def served_versions(context: RenderContext) -> dict[str, tuple[int, ...]]:
    """Model -> the versions of the bundle that are served, ascending."""
    config = server_config(context)
    return {served.name: served.served(context.model(served.name).versions) for served in config.models}


def state_targets(context: RenderContext) -> tuple[str, ...]:
    """What must be AVAILABLE for the server to be ready, as model-state.sh takes it.

    A model by its name where the latest version is served (the server may have found a newer one), every
    single version where the config names versions.
    """
    targets: list[str] = []
    for served in server_config(context).models:
        if isinstance(served.policy, Specific):
            targets += [f"{served.name}/versions/{version}" for version in served.policy.versions]
        else:
            targets.append(served.name)
    return tuple(targets)


def has_labels(context: RenderContext) -> bool:
    return any(context.spec.serving.labels.values())


def _served(context: RenderContext, model: RenderedModel, models_dir: str) -> ServedModel:
    labels = dict(sorted(context.spec.serving.labels.get(model.name, {}).items()))
    return ServedModel(model.name, f"{models_dir}/{model.name}", _policy(context, model), labels)


def _policy(context: RenderContext, model: RenderedModel) -> VersionPolicy:
    """The versions asked for; else the latest, and with labels the latest and the labelled ones by number.

    With the policy `latest` a labelled version would be unloaded as soon as the next one is built.
    """
    asked = context.spec.serving.versions.get(model.name, ())
    labelled = context.spec.serving.labels.get(model.name, {}).values()
    if asked:
        return Specific(tuple(sorted(set(asked))))
    if labelled:
        return Specific(tuple(sorted({model.latest, *labelled})))
    return Latest()


def _proven(config: Config) -> str:
    """The text of a config, read back before anybody relies on it."""
    text = config.to_text()
    if type(config).from_text(text) != config:
        raise AssertionError(f"{config!r} does not survive text proto")
    return text


def _fast_paths(context: RenderContext) -> dict[str, dict[str, str]]:
    """Model -> size and latency of the latest version's model.tflite; empty where there is none."""
    found = {}
    for model in context.models:
        record = context.manifest["models"][model.name]["versions"][str(model.latest)]
        figures = record.get("fast_path")
        found[model.name] = (
            {"size": size_text(figures["size_bytes"]), "latency": milliseconds_text(figures["latency_ms"]["1"])}
            if figures
            else {}
        )
    return found


def _readme(context: RenderContext) -> str:
    serving = context.spec.serving
    local = server_flags(context, "$CONFIG")
    return render_template(
        "serving-README.md.j2",
        name=context.name,
        flags=server_flags(context),
        local_flags=local,
        image=context.spec.docker.reference,
        models=context.models,
        served=served_versions(context),
        labels=serving.labels,
        serving=serving,
        fast_path=_fast_paths(context) if context.spec.prefers_tflite else {},
        models_dir=MODELS_DIR,
        config_dir=CONFIG_DIR,
    )

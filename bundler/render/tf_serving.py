"""serving/: the config files of tensorflow_model_server and the flags that go with them.

The paths in the files are those in the container (`/models`, `/etc/tf-serving`), so a bundle can be moved. The README next
to them explains how to serve from other folders.
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
from bundler.spec.server_flags import as_argument
from serving.config.batching import BatchingParameters
from serving.config.mixed_precision import mixed_precision
from serving.config.model_server import ModelServerConfig, ServedModel
from serving.config.monitoring import MonitoringConfig
from serving.config.version_policy import Latest, Specific, VersionPolicy
from serving.cpu import GAINING, WITHOUT
from serving.errors import ConfigError

MODELS_DIR = "/models"
"""Folder of the models in the container, as in the image tensorflow/serving."""

CONFIG_DIR = "/etc/tf-serving"
"""Folder of the config files in the container."""

REST_THREADS = 64
"""Threads for REST requests, among them those of probes and metrics (tensorflow/serving, model_servers/http_server.cc).

By default there are four per core, and a request holds one until it is answered. Measured with 2 cores and 24 clients: all of
four probes failed while all requests were answered, so that overload became an outage; with 64 threads a probe takes 0.02 s.
"""

MODELS_CONFIG = "models.config"
BATCHING_CONFIG = "batching.config"
MONITORING_CONFIG = "monitoring.config"

Config = TypeVar("Config", ModelServerConfig, BatchingParameters, MonitoringConfig)


def render(context: RenderContext, folder: Path) -> list[Path]:
    """Write serving/: the config files in use and README.md.

    Raises:
        SpecError: The settings name a model, version or label that does not exist.
    """
    files = config_files(context)
    files["README.md"] = _readme(context)
    owned = (MODELS_CONFIG, BATCHING_CONFIG, MONITORING_CONFIG)
    return write_files(BundleLayout(folder).serving_dir, files, owned=owned)


def config_files(context: RenderContext, models_dir: str = MODELS_DIR) -> dict[str, str]:
    """Return name and text of each config file that `server_flags` refers to.

    Args:
        context: The bundle to serve.
        models_dir: Absolute path of the models folder where the server runs.
    """
    files = {MODELS_CONFIG: _checked_text(server_config(context, models_dir))}
    if context.spec.serving.batching:
        files[BATCHING_CONFIG] = _checked_text(batching_parameters(context))
    if context.spec.serving.monitoring:
        files[MONITORING_CONFIG] = _checked_text(MonitoringConfig(path=context.spec.serving.monitoring_path))
    return files


def server_flags(context: RenderContext, config_dir: str = CONFIG_DIR, *, cores: int | None = None) -> tuple[str, ...]:
    """Return the flags of tensorflow_model_server for a bundle (tensorflow/serving, model_servers/main.cc).

    REST is off unless `--rest_api_port` is given. A batching file without `--enable_batching` is a start-up error. The
    profiler is a service without authentication and is on by default. `--enable_serialization_as_tensor_content` breaks REST
    replies and is never set. `--enable_grpc_healthcheck_service` reports SERVING whatever state the models are in, so
    nothing relies on it. The user's own flags (`serving.flags`) come last, or in place of the same one.

    Args:
        context: The bundle to serve.
        config_dir: Folder of the config files where the server runs.
        cores: How many cores the server may use, if fewer than the machine has; None if that is unknown.
    """
    serving = context.spec.serving
    flags = [
        f"--port={serving.grpc_port}",
        f"--rest_api_port={serving.rest_port}",
        f"--rest_api_num_threads={REST_THREADS}",
        f"--model_config_file={config_dir}/{MODELS_CONFIG}",
    ]
    flags += thread_flags(context, cores)
    if serving.monitoring:
        flags.append(f"--monitoring_config_file={config_dir}/{MONITORING_CONFIG}")
    if serving.batching:
        flags += ["--enable_batching=true", f"--batching_parameters_file={config_dir}/{BATCHING_CONFIG}"]
    if context.spec.prefers_tflite:
        # The default is one interpreter per core of the machine, each with its own copy of the weights, even if a pod may use
        # fewer cores.
        flags += ["--prefer_tflite_model=true", f"--num_tflite_pools={tflite_pools(context)}"]
    if precision := mixed_precision(context.manifest):
        flags.append(f"--mixed_precision={precision}")
    if has_labels(context):
        # A starting server reads the labels before it has loaded any version, and would otherwise refuse to start.
        flags.append("--allow_version_labels_for_unavailable_models=true")
    by_name = {flag.partition("=")[0]: flag for flag in (*flags, "--enable_profiler=false")}
    own = (as_argument(name, value) for name, value in serving.flags.items())
    return tuple((by_name | {flag.partition("=")[0]: flag for flag in own}).values())


def thread_flags(context: RenderContext, cores: int | None) -> tuple[str, ...]:
    """Return the flags of TensorFlow's threads (tensorflow/serving, servables/tensorflow/session_bundle_config.proto).

    By default, each request splits its operators over all cores. When requests are many, they then wait for each other at every
    operator: one thread per request gives 1.1 to 1.9 times as many requests per second (docs/performance.md). TensorFlow counts
    the cores of the machine, not those that a container may use.
    """
    serving = context.spec.serving
    runs_on_gpu = "gpu" in context.spec.kubernetes.components or "gpu" in context.spec.docker.tag
    if runs_on_gpu or "tensorflow_session_parallelism" in serving.flags:  # the server refuses it beside the other two
        return ()
    at_once = () if cores is None else (f"--tensorflow_inter_op_parallelism={max(2, cores)}",)
    if serving.clients == "many":
        return ("--tensorflow_intra_op_parallelism=1", *at_once)
    return () if cores is None else (f"--tensorflow_intra_op_parallelism={cores}", *at_once)


def tflite_pools(context: RenderContext) -> int:
    """Return the number of interpreters per model.tflite: one per requested core, and at least two so that calls overlap."""
    return max(2, math.ceil(cpu_cores(context.spec.kubernetes.cpu)))


def cpu_cores(quantity: str) -> float:
    """Return the cores that a quantity of CPU stands for, such as 2 or 1500m."""
    return float(quantity.removesuffix("m")) / 1000 if quantity.endswith("m") else float(quantity)


def server_config(context: RenderContext, models_dir: str = MODELS_DIR) -> ModelServerConfig:
    """Return the content of models.config: which versions of each model are served, and under which labels.

    Raises:
        SpecError: The settings name a model, version or label that does not exist.
    """
    for name in (*context.spec.serving.labels, *context.spec.serving.versions):
        context.model(name)
    try:
        config = ModelServerConfig(tuple(_served_model(context, model, models_dir) for model in context.models))
        config.check_labels({model.name: model.versions for model in context.models})
    except ConfigError as exc:
        raise SpecError(exc.what, where="'serving' in bundle.yaml", fix=exc.fix, code="TFB1105") from exc
    return config


def batching_parameters(context: RenderContext) -> BatchingParameters:
    """Return the content of batching.config, which applies to all models.

    Raises:
        SpecError: A warm-up record has more rows than a batch, so the server would not load its version.
    """
    serving = context.spec.serving
    for model in context.models:
        if model.largest_batch > serving.max_batch_size:
            raise SpecError(
                f"serving.max_batch_size is {serving.max_batch_size}, but the warm-up of {model.name!r} has a request of "
                f"{model.largest_batch} rows. TensorFlow Serving rejects such a request and does not load the version.",
                where="'serving' in bundle.yaml",
                fix=f"set max_batch_size to {model.largest_batch} or more, or build the model again with this setting in "
                "bundle.yaml, so that its warm-up fits",
                code="TFB1106",
            )
    return BatchingParameters(
        max_batch_size=serving.max_batch_size,
        batch_timeout_micros=serving.batch_timeout_micros,
        max_enqueued_batches=serving.max_enqueued_batches,
        num_batch_threads=serving.num_batch_threads,
        allowed_batch_sizes=serving.allowed_batch_sizes,
        pad_variable_length_inputs=pads_lengths(context),
    )


def pads_lengths(context: RenderContext) -> bool:
    """Return whether the server pads requests of different lengths into one batch: by default if that changes no answer."""
    wanted = context.spec.serving.pad_variable_length_inputs
    if wanted is not None:
        return wanted
    answers = [model.ignores_padding for model in context.models if model.ignores_padding is not None]
    return bool(answers) and all(answers)


def served_versions(context: RenderContext) -> dict[str, tuple[int, ...]]:
    """Return the served versions of each model, ascending, by model name."""
    config = server_config(context)
    return {served.name: served.served(context.model(served.name).versions) for served in config.models}


def state_targets(context: RenderContext) -> tuple[str, ...]:
    """Return what must be AVAILABLE for the server to be ready, as arguments of model-state.sh.

    A model that serves its latest version is listed by name, because the server may have found a newer version. A model
    whose config names versions is listed once per version.
    """
    targets: list[str] = []
    for served in server_config(context).models:
        if isinstance(served.policy, Specific):
            targets += [f"{served.name}/versions/{version}" for version in served.policy.versions]
        else:
            targets.append(served.name)
    return tuple(targets)


def has_labels(context: RenderContext) -> bool:
    """Return True if any version has a label."""
    return any(context.spec.serving.labels.values())


def _served_model(context: RenderContext, model: RenderedModel, models_dir: str) -> ServedModel:
    labels = dict(sorted(context.spec.serving.labels.get(model.name, {}).items()))
    return ServedModel(model.name, f"{models_dir}/{model.name}", _policy(context, model), labels)


def _policy(context: RenderContext, model: RenderedModel) -> VersionPolicy:
    """Return the version policy: the versions that the settings name, or else the latest and all labelled versions.

    Labelled versions are named by number: under the policy `latest`, the server would unload them as soon as the next version
    is built.
    """
    chosen = context.spec.serving.versions.get(model.name, ())
    labelled = context.spec.serving.labels.get(model.name, {}).values()
    if chosen:
        return Specific(tuple(sorted(set(chosen))))
    if labelled:
        return Specific(tuple(sorted({model.latest, *labelled})))
    return Latest()


def _checked_text(config: Config) -> str:
    """Return a config as text proto, after checking that it reads back unchanged."""
    text = config.to_text()
    if type(config).from_text(text) != config:
        raise AssertionError(f"{config!r} does not survive text proto")
    return text


def _fast_paths(context: RenderContext) -> dict[str, dict[str, str]]:
    """Return precision, size and latency of the latest version's model.tflite by model; empty for a model without one."""
    fast_paths = {}
    for model in context.models:
        record = context.manifest["models"][model.name]["versions"][str(model.latest)]
        figures = record.get("fast_path")
        fast_paths[model.name] = (
            {
                "form": figures.get("form", "float32"),
                "size": size_text(figures["size_bytes"]),
                "latency": milliseconds_text(figures["latency_ms"]["1"]) if "1" in figures["latency_ms"] else "–",
            }
            if figures
            else {}
        )
    return fast_paths


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
        mixed_precision=mixed_precision(context.manifest),
        bfloat16=f"CPUs that gain have {GAINING}; {WITHOUT}.",
        fast_path=_fast_paths(context) if context.spec.prefers_tflite else {},
        models_dir=MODELS_DIR,
        config_dir=CONFIG_DIR,
    )

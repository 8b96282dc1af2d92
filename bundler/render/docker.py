"""docker/: an image with server, models and configuration, one with the models alone, and a compose file.

The build context is the bundle's folder: `docker compose -f docker/compose.yaml up --build`, or
`docker build -f docker/Dockerfile -t NAME:TAG .`.
"""

from __future__ import annotations

import json
from pathlib import Path

from bundler.bundle.layout import BundleLayout
from bundler.render import RenderContext, kubernetes, tf_serving
from bundler.render.files import read_template, read_yaml, render_template, write_files, write_yaml
from bundler.render.kubernetes import models

USER = "10001:10001"
"""User and group of the server: none that the image knows, and not 0."""

SCRIPT = "/usr/local/bin/model-state.sh"
"""Where the image has the script that reads the models' state."""


def render(context: RenderContext, folder: Path) -> list[Path]:
    """Write docker/: Dockerfile and Dockerfile.models, a .dockerignore of each, compose.yaml and model-state.sh.

    Raises:
        SpecError: the settings ask for a model, a version or a label that there is not.
    """
    files = {
        "Dockerfile": _dockerfile(context),
        "Dockerfile.dockerignore": _dockerignore([*_models(context), *_configs(context), "docker/model-state.sh"]),
        "Dockerfile.models": _models_dockerfile(context),
        "Dockerfile.models.dockerignore": _dockerignore(_models(context)),
        "compose.yaml": _compose(context),
        "model-state.sh": (kubernetes.TREE / kubernetes.STATE_SCRIPT).read_text("utf-8"),
    }
    return write_files(BundleLayout(folder).docker_dir, files)


def healthcheck(context: RenderContext) -> list[str]:
    """The command that succeeds when every model is AVAILABLE; the image has bash and no curl."""
    return ["bash", SCRIPT, str(context.spec.serving.rest_port), *tf_serving.state_targets(context)]


def _dockerfile(context: RenderContext) -> str:
    return render_template(
        "Dockerfile.j2",
        base=f"{context.spec.docker.image}:{context.spec.docker.tag}",
        digest=context.spec.docker.digest,
        title=context.name,
        labels=_labels(context, f"TensorFlow Serving with {_listed(context)}") | _base_labels(context),
        folders=_version_folders(context),
        configs=sorted(tf_serving.config_files(context)),
        models_dir=tf_serving.MODELS_DIR,
        config_dir=tf_serving.CONFIG_DIR,
        script=SCRIPT,
        user=USER,
        ports=(context.spec.serving.grpc_port, context.spec.serving.rest_port),
        start_seconds=kubernetes.startup_seconds(context),
        healthcheck=_exec(healthcheck(context)),
        entrypoint=_exec(["tensorflow_model_server"]),
        flags=[json.dumps(flag) for flag in tf_serving.server_flags(context)],
    )


def _exec(command: list[str]) -> str:
    """A command in exec form: a JSON array, so that no shell stands between Docker and the process."""
    return json.dumps(command)


def _models_dockerfile(context: RenderContext) -> str:
    """An image of <model>/<version>/, for a volume that is mounted at /models."""
    return render_template(
        "Dockerfile.models.j2",
        tag=models.volume_image(context),
        labels=_labels(context, f"SavedModels: {_listed(context)}"),
        folders=_version_folders(context),
        user=USER,
    )


def _listed(context: RenderContext) -> str:
    return ", ".join(f"{model.name} {model.latest}" for model in context.models)


def _labels(context: RenderContext, description: str) -> dict[str, str]:
    """OCI image labels (opencontainers/image-spec, annotations.md), values quoted for a Dockerfile."""
    values = {"title": context.name, "description": description, "version": context.tag}
    return {f"org.opencontainers.image.{key}": json.dumps(value) for key, value in values.items()}


def _base_labels(context: RenderContext) -> dict[str, str]:
    """The labels that name the image below."""
    labels = {"base.name": f"{context.spec.docker.image}:{context.spec.docker.tag}"}
    if context.spec.docker.digest:
        labels["base.digest"] = context.spec.docker.digest
    return {f"org.opencontainers.image.{key}": json.dumps(value) for key, value in labels.items()}


def _version_folders(context: RenderContext) -> list[str]:
    """`<model>/<version>` of what the image carries: all versions, so that labels can move back."""
    return [f"{model.name}/{version}" for model in context.models for version in model.versions]


def _models(context: RenderContext) -> list[str]:
    return [f"models/{folder}" for folder in _version_folders(context)]


def _configs(context: RenderContext) -> list[str]:
    return [f"serving/{name}" for name in sorted(tf_serving.config_files(context))]


def _dockerignore(wanted: list[str]) -> str:
    lines = ["# Written by tfbundle: nothing but what the Dockerfile copies is sent to the builder.", "*"]
    return "\n".join([*lines, *(f"!{path}" for path in wanted), ""])


def _compose(context: RenderContext) -> str:
    document = read_yaml(read_template("compose.yaml"))
    document["name"] = context.name
    server = document["services"]["serving"]
    server["image"] = context.image
    for index, port in enumerate((context.spec.serving.grpc_port, context.spec.serving.rest_port)):
        server["ports"][index] = f"127.0.0.1:{port}:{port}"
    check = server["healthcheck"]
    check["start_period"] = f"{kubernetes.startup_seconds(context)}s"
    check["test"][1:] = healthcheck(context)
    return write_yaml(document)

"""docker/: Dockerfiles for an image with server, models and configuration and for one with only the models; a compose file.

The build context is the bundle's folder: `docker compose -f docker/compose.yaml up --build`, or
`docker build -f docker/Dockerfile -t NAME:TAG .`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from bundler.bundle.layout import BundleLayout
from bundler.render import RenderContext, kubernetes, tf_serving
from bundler.render.files import read_template, read_yaml, render_template, write_files, write_yaml
from bundler.render.kubernetes import models, pods, sizes
from bundler.spec.storage_uri import scheme

USER = f"{pods.USER}:{pods.USER}"
"""User and group of the server process, those of the pods."""

SHELL_IMAGE = "busybox:1.37.0"
"""Image below the models for KServe's oci://, whose sidecar runs `sh`, `ln` and `sleep` (kserve, pkg/utils/storage.go)."""

_BINARY = {"Ki": "k", "Mi": "m", "Gi": "g"}

SCRIPT = "/usr/local/bin/model-state.sh"
"""Path in the image of the script that reads the models' state."""


def render(context: RenderContext, folder: Path) -> list[Path]:
    """Write docker/: Dockerfile and Dockerfile.models with a .dockerignore for each, compose.yaml, and model-state.sh.

    Raises:
        SpecError: The settings name a model, version or label that does not exist.
    """
    files = {
        "Dockerfile": _dockerfile(context),
        "Dockerfile.dockerignore": _dockerignore([*_model_paths(context), *_config_paths(context), "docker/model-state.sh"]),
        "Dockerfile.models": _models_dockerfile(context),
        "Dockerfile.models.dockerignore": _dockerignore(_model_paths(context)),
        "compose.yaml": _compose(context),
        "model-state.sh": (kubernetes.TREE / kubernetes.STATE_SCRIPT).read_text("utf-8"),
    }
    return write_files(BundleLayout(folder).docker_dir, files)


def healthcheck(context: RenderContext) -> list[str]:
    """Return the command that succeeds when every model is AVAILABLE; it uses bash because the image has no curl."""
    return ["bash", SCRIPT, str(context.spec.serving.rest_port), *tf_serving.state_targets(context)]


def _dockerfile(context: RenderContext) -> str:
    return render_template(
        "Dockerfile.j2",
        base=f"{context.spec.docker.image}:{context.spec.docker.tag}",
        digest=context.spec.docker.digest,
        image=context.image,
        labels=_labels(context, f"TensorFlow Serving with {_models_text(context)}") | _base_labels(context),
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
    """Return a command in exec form, a JSON array, so that Docker starts the process without a shell."""
    return json.dumps(command)


def _models_dockerfile(context: RenderContext) -> str:
    """Return the Dockerfile of an image that contains only <model>/<version>/, to be mounted as a volume at /models."""
    return render_template(
        "Dockerfile.models.j2",
        tag=models.volume_image(context),
        base=SHELL_IMAGE if scheme(context.spec.kubernetes.storage_uri or "") == "oci" else "scratch",
        labels=_labels(context, f"SavedModels: {_models_text(context)}"),
        folders=_version_folders(context),
        user=USER,
    )


def _models_text(context: RenderContext) -> str:
    return ", ".join(f"{model.name} {model.latest}" for model in context.models)


def _labels(context: RenderContext, description: str) -> dict[str, str]:
    """Return the OCI image labels (opencontainers/image-spec, annotations.md), with values quoted for a Dockerfile."""
    values = {"title": context.name, "description": description, "version": context.models_tag}
    return {f"org.opencontainers.image.{key}": json.dumps(value) for key, value in values.items()}


def _base_labels(context: RenderContext) -> dict[str, str]:
    """Return the OCI labels that identify the base image."""
    labels = {"base.name": f"{context.spec.docker.image}:{context.spec.docker.tag}"}
    if context.spec.docker.digest:
        labels["base.digest"] = context.spec.docker.digest
    return {f"org.opencontainers.image.{key}": json.dumps(value) for key, value in labels.items()}


def _version_folders(context: RenderContext) -> list[str]:
    """Return `<model>/<version>` for every version in the image: all of the bundle's, so that labels can move back."""
    return [f"{model.name}/{version}" for model in context.models for version in model.versions]


def _model_paths(context: RenderContext) -> list[str]:
    return [f"models/{folder}" for folder in _version_folders(context)]


def _config_paths(context: RenderContext) -> list[str]:
    return [f"serving/{name}" for name in sorted(tf_serving.config_files(context))]


def _dockerignore(sources: list[str]) -> str:
    lines = ["# Written by tfbundle: only the files that the Dockerfile copies are sent to the builder.", "*"]
    return "\n".join([*lines, *(f"!{path}" for path in sources), ""])


def _compose_size(quantity: str) -> str:
    """Return a Kubernetes quantity of memory in the units of Compose, powers of 1024 (compose-spec, "byte value")."""
    number, unit = sizes.split_quantity(quantity)
    if unit in _BINARY and number == int(number):
        return f"{int(number)}{_BINARY[unit]}"
    base, letter = (1024, unit[:-1]) if unit.endswith("i") else (1000, unit)
    return f"{math.ceil(number * base ** ' kmgt'.index(letter.lower() or ' '))}b"


def _compose(context: RenderContext) -> str:
    document = read_yaml(read_template("compose.yaml"))
    document["name"] = context.name
    server = document["services"]["serving"]
    server["image"] = context.image
    for index, port in enumerate((context.spec.serving.grpc_port, context.spec.serving.rest_port)):
        server["ports"][index] = f"127.0.0.1:{port}:{port}"
    server["mem_limit"] = _compose_size(sizes.memory(context)[1])
    check = server["healthcheck"]
    check["start_period"] = f"{kubernetes.startup_seconds(context)}s"
    check["test"][1:] = healthcheck(context)
    return write_yaml(document)
